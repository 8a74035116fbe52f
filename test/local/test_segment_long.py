"""Long recordings to a data directory; what the model hears is given."""

from types import SimpleNamespace

import numpy as np
import pytest

from rnnt.data.audio import write_audio
from rnnt.search.result import Word
from rnnt.transcription.result import Channel, Transcript


@pytest.fixture
def hears(monkeypatch):
    """`hears(text)`: the recognizer hears these words, one a second, each half a second long."""

    def set_text(text, channels=1):
        words = tuple(Word(word, i + 0.2, i + 0.7, 0.9) for i, word in enumerate(text.split()))
        transcript = Transcript("talk.flac", float(len(words)), (Channel(text, words),) * channels)
        fake = SimpleNamespace(transcribe_each=lambda files: (transcript for _ in files))
        monkeypatch.setattr("rnnt.transcription.recognizer.load_recognizer", lambda model, device: fake)

    return set_text


def talk(folder, text):
    write_audio(folder / "talk.flac", np.zeros(8000 * 6, dtype=np.float32), 8000)
    (folder / "talk.txt").write_text(text)
    return str(folder / "talk.flac")


def test_a_data_directory_with_what_matches(tmp_path, program, hears, capsys):
    file, out = talk(tmp_path, "One two\nthree FOUR five six"), tmp_path / "out"
    hears("one two three for fife six")
    argv = ["--model", "m", "--out", str(out), "--max-seconds", "2.5", "--max-mismatch", "0.3", file]
    program("segment_long").main(argv)
    lines = {name: (out / name).read_text().splitlines() for name in ("wav.scp", "segments", "text", "utt2spk")}
    assert lines["wav.scp"] == [f"talk {file}"]
    assert lines["segments"] == ["talk-00001 talk 0.000 1.950"]
    assert lines["text"] == ["talk-00001 One two"] and lines["utt2spk"] == ["talk-00001 talk"]
    rows = [line.split("\t") for line in (out / "doubtful.tsv").read_text().splitlines()]
    assert [row[4:] for row in rows[1:]] == [
        ["no pause in matching words to cut at", "three FOUR five six", "three for fife six"]
    ]
    assert "1 utterance; 1 part left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, heard, channels, message",
    [
        ("", "one", 1, "no text in it"),
        ("one two", "three four", 1, "no part of the recordings matches its text"),
        ("one two", "one two", 2, "2 channels; split them"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, program, hears, capsys, text, heard, channels, message):
    file, out = talk(tmp_path, text), tmp_path / "out"
    hears(heard, channels)
    with pytest.raises(SystemExit) as error:
        program("segment_long").main(["--model", "m", "--out", str(out), file])
    assert error.value.code == 1 and message in capsys.readouterr().err
    assert not out.exists()
