"""Noise from a folder of recordings to what training mixes in."""

import numpy as np
import pytest
from lhotse import RecordingSet

from rnnt.data.audio import write_audio


def test_every_readable_file_is_taken(tmp_path, program, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a/rain.wav", "b/rain.flac", "c.wav"):
        (tmp_path / "noise" / name).parent.mkdir(parents=True, exist_ok=True)
        write_audio(tmp_path / "noise" / name, np.zeros(8000), 8000)
    (tmp_path / "noise" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "noise" / "readme.txt").write_text("no audio")
    program("make_noise_manifest").main(["--noise-dir", "noise", "--nj", "2"])
    recordings = RecordingSet.from_file("data/noise_manifests/noise_recordings.jsonl.gz")
    assert sorted(recording.id for recording in recordings) == ["a-rain", "b-rain", "c"]
    printed = capsys.readouterr().out
    assert "noise: 3 of 4 recordings" in printed and f"warning: {tmp_path}/noise/broken.wav: " in printed


@pytest.mark.parametrize("files, message", [([], "no audio files"), (["a.wav"], "none of 1 audio files can be read")])
def test_no_noise_is_one_line(tmp_path, program, capsys, files, message):
    for name in files:
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(SystemExit):
        program("make_noise_manifest").main(["--noise-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert message in capsys.readouterr().err
