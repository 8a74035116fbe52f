"""The page in a real Chromium, whose microphone plays a recording."""

import numpy as np
import pytest
import soundfile

pytest.importorskip("websockets")


@pytest.mark.slow
def test_captions_of_a_microphone_and_of_a_file(served, sound, tmp_path, open_tab):
    _, address = served
    wav, profile = tmp_path / "speech.wav", tmp_path / "profile"
    soundfile.write(wav, np.repeat(sound(4.0, 1), 6), 48000)
    with open_tab(f"http://{address}/", profile, f"--use-file-for-fake-audio-capture={wav}") as tab:
        tab.wait_for("document.readyState === 'complete' && document.title === 'Live captions'")
        tab.run("byId('microphone').click()")
        tab.wait_for("byId('captions').innerText.length > 10")
        assert tab.run("byId('status').textContent") == "Listening."
        assert tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        tab.run("byId('stop').click()")
        tab.wait_for("byId('status').textContent === 'Done.'")
        assert tab.run("utterances.length") >= 1 and not tab.run("byId('save-srt').disabled")
        saved = tab.run(
            "new Promise((done) => { const make = URL.createObjectURL; URL.createObjectURL = (blob) => "
            "{ blob.text().then(done); return make(blob); }; byId('save-srt').click(); })"
        )
        assert saved.startswith("1\n00:00:0") and " --> " in saved
        root = tab.call("DOM.getDocument")["root"]["nodeId"]
        node = tab.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        tab.call("DOM.setFileInputFiles", files=[str(wav)], nodeId=node)
        tab.wait_for("byId('status').textContent === 'Done.' && utterances.length === 1")
