import pytest

from rnnt.errors import UserError
from rnnt.scoring import score

REFS = {"s1-a": "one two three", "s1-b": "four", "s2-a": "", "s2-b": "five six"}
HYPS = {"s1-a": "one too three", "s1-b": "four", "s2-a": "oh", "s2-b": "six"}


def test_summary_lines_are_kaldis():
    assert score(REFS, HYPS).summary_lines() == [
        "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]",
        "%CER 32.00 [ 8 / 25, 2 ins, 5 del, 1 sub ]",
        "%SER 75.00 [ 3 / 4 ]",
        "Scored 4 sentences, 0 not present in hyp.",
    ]
    lines = score(REFS, HYPS, "char").summary_lines()
    assert lines[0].startswith("%CER 32.00 ") and lines[1].startswith("%WER 50.00 ")
    assert score(REFS, HYPS).headline() == "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ] %CER 32.00"


def test_both_rates_whatever_the_unit():
    refs, hyps = {"a": "\u4eca\u5929\u5929\u6c14", "b": "\u597d"}, {"a": "\u4eca\u65e5\u5929\u6c14", "b": "\u597d"}
    for unit, counts in (("word", (1, 2)), ("char", (1, 5))):
        summary = score(refs, hyps, unit).summary()
        assert (summary["wer"], summary["cer"]) == (50.0, 20.0)
        assert (summary["errors"], summary["words"]) == counts


def test_missing_hypotheses_count_as_deletions():
    report = score(REFS, {"s1-a": "one two three"})
    assert report.summary_lines()[0] == "%WER 50.00 [ 3 / 6, 0 ins, 3 del, 0 sub ]"
    assert report.summary_lines()[3] == "Scored 4 sentences, 3 not present in hyp."
    assert report.missing == ("s1-b", "s2-a", "s2-b")


def test_extra_hypotheses_are_refused():
    with pytest.raises(UserError, match="2 hypotheses have no reference, the first is x"):
        score(REFS, {**HYPS, "x": "one", "y": "two"})


def test_no_utterances():
    assert score({}, {}).summary_lines()[0] == "%WER 0.00 [ 0 / 0, 0 ins, 0 del, 0 sub ]"
    assert score({}, {}).ser == 0.0


def test_summary_details_and_confusions_agree():
    report = score(REFS, HYPS)
    summary = report.summary()
    assert summary["wer"] == 50.0 and summary["words"] == 6 and summary["wrong_sentences"] == 3
    confusions = report.confusions()
    assert sum(count for *_, count in confusions) == summary["errors"]
    assert ("S", "two", "too", 1) in confusions and ("I", "***", "oh", 1) in confusions
    assert ("D", "five", "***", 1) in confusions


def test_utterance_lines():
    report = score({"u": "one two three"}, {"u": "one too"})
    assert report.utterance_lines("u") == [
        "u ref  one two three",
        "u hyp  one too ***",
        "u op   C   S   D",
        "u #csid 1 1 0 1",
    ]
    lines = list(report.error_lines())
    assert lines[:4] == report.summary_lines() and lines[-1] == "u #csid 1 1 0 1"


def test_speaker_rows():
    rows = score(REFS, HYPS, speakers={key: key[:2] for key in REFS}).speaker_rows()
    assert [(speaker, n, wrong, c.errors, c.length) for speaker, n, wrong, c in rows] == [
        ("s1", 2, 1, 1, 4),
        ("s2", 2, 2, 2, 2),
    ]
