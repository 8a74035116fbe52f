"""The delay of words against a CTM file."""

import json

import pytest

from rnnt.score import main
from rnnt.scoring.delay import TimedWord, delays, read_timed

CTM = """;; a comment
u1 1 0.10 0.30 one 0.9
u1 1 1.00 0.20 three
u1 1 0.50 0.40 two
u2 A 2.00 0.50 four 1.0

u3 1 0.00 0.10 five
"""


def test_equal_words_of_common_utterances_are_compared(tmp_path, capsys):
    (tmp_path / "ref.ctm").write_text(CTM)
    times = {"one": (0.2, 0.6), "wrong": (0.5, 0.6), "three": (1.3, 1.4)}
    words = [{"word": word, "start": start, "end": end, "confidence": 1} for word, (start, end) in times.items()]
    late = [{"word": "four", "start": 1.9, "end": 2.5}]
    lines = [{"id": "u1", "words": words}, {"id": "u2", "words": late}, {"id": "u9", "words": late}]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "utterances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    refs = read_timed(tmp_path / "ref.ctm")
    assert [w.word for w in refs["u1"]] == ["one", "two", "three"]  # in the order of time
    found = delays(refs, read_timed(tmp_path / "set"))
    assert found.starts == pytest.approx([0.1, 0.3, -0.1]) and found.ends == pytest.approx([0.2, 0.2, 0.0])
    main(["delay", str(tmp_path / "ref.ctm"), str(tmp_path / "set")])
    assert capsys.readouterr().out.splitlines() == [
        "3 of 4 words compared; milliseconds, positive: late",
        "start  mean 100  median 100  90 % 300  median of sizes 100",
        "end    mean 133  median 200  90 % 200  median of sizes 200",
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("u1 1 0.1 one\n", "line 1: expected `utterance channel start duration word`"),
        ("u1 1 0.1 x one\n", "line 1: expected"),
        ("u1 1 nan 0.1 one\n", "line 1: expected"),
        ("u8 1 0.1 0.2 one\n", "no word of the reference was recognised"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, text, message):
    (tmp_path / "ref.ctm").write_text(CTM)
    (tmp_path / "hyp.ctm").write_text(text)
    with pytest.raises(SystemExit) as error:
        main(["delay", str(tmp_path / "ref.ctm"), str(tmp_path / "hyp.ctm")])
    assert error.value.code == 1 and message in capsys.readouterr().err


def test_nothing_in_common_is_an_error():
    with pytest.raises(Exception, match="no word"):
        delays({}, {"u": [TimedWord("a", 0, 1)]})
