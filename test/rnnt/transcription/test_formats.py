"""Output formats, from a transcript made by hand."""

import json
import re

import pytest

from rnnt.search.result import Word
from rnnt.transcription.formats import FORMATS, clock, cues
from rnnt.transcription.result import Channel, Transcript


def said(*words):
    placed = tuple(Word(w, start, start + 0.2, 0.5) for w, start in words)
    return Channel(" ".join(w.word for w in placed), placed)


MONO = Transcript("some/talk one.wav", 12.0, (said(("a", 0.0), ("<b>", 0.5), ("c", 6.0)),))
STEREO = Transcript("x.wav", 5.0, (said(("left", 2.0)), said(("right", 1.0))))
NOTHING = Transcript("x.wav", 5.0, (Channel("", ()),))


def write(name, transcript):
    return FORMATS[name][1](transcript)


def test_text():
    assert write("text", MONO) == "a <b> c\n" and write("text", STEREO) == "left\nright\n"


def test_json_has_times_and_confidences():
    value = json.loads(write("json", STEREO))
    assert value["audio"] == "x.wav" and value["seconds"] == 5.0
    assert value["channels"][1] == {
        "channel": 2, "text": "right", "words": [{"word": "right", "start": 1.0, "end": 1.2, "confidence": 0.5}],
    }  # fmt: skip


def test_srt():
    assert write("srt", MONO) == ("1\n00:00:00,000 --> 00:00:01,000\na <b>\n\n2\n00:00:06,000 --> 00:00:07,000\nc\n\n")
    assert "1\n00:00:01,000 --> 00:00:02,000\n[2] right\n" in write("srt", STEREO)


def test_vtt_escapes_and_names_channels():
    text = write("vtt", MONO)
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na &lt;b&gt;\n")
    assert "<v channel 1>left" in write("vtt", STEREO)


def test_ctm():
    assert write("ctm", MONO).splitlines()[2] == "talk_one 1 6.00 0.20 c 0.5000"
    assert write("ctm", STEREO).splitlines()[1].startswith("x 2 1.00 ")


def test_silence():
    assert write("text", NOTHING) == "\n" and write("srt", NOTHING) == write("ctm", NOTHING) == ""
    assert write("vtt", NOTHING) == "WEBVTT\n\n" and json.loads(write("json", NOTHING))["channels"][0]["words"] == []


def test_cues_are_short_and_in_order():
    transcript = Transcript("x", 100.0, (said(*((f"word{i}", 0.3 * i) for i in range(300))),))
    found = cues(transcript)
    assert " ".join(cue.text for cue in found) == transcript.text
    assert all(cue.end - cue.start <= 7.01 and len(cue.text) <= 84 for cue in found)
    assert all(a.end <= b.start + 1e-9 for a, b in zip(found, found[1:]))


@pytest.mark.parametrize("seconds, text", [(0, "00:00:00.000"), (3661.0006, "01:01:01.001"), (59.9999, "00:01:00.000")])
def test_clock(seconds, text):
    assert clock(seconds, ".") == text and re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", text)
