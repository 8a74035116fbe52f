from html.parser import HTMLParser

import pytest

from rnnt.scoring import score
from rnnt.scoring.folder import write_folder
from rnnt.scoring.page import by_duration, worst

VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Fails on tags that do not match; collects the text and everything that would be loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.loaded = [], "", []

    def handle_starttag(self, tag, attributes):
        self.loaded += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def decoded():
    refs = {"s1-a": "one two three", "s1-b": "four <b>", "s2-a": "five", "s2-b": "six"}
    hyps = {"s1-a": "one too", "s1-b": "four <i>", "s2-a": "five", "s2-b": "oh six"}
    report = score(refs, hyps, speakers={key: key[:2] for key in refs})
    utterances = [
        {"id": key, "speaker": key[:2], "seconds": 1.0 + i, "audio": [f"{key}.wav"]} for i, key in enumerate(refs)
    ]
    return report, utterances


def test_page_is_well_formed_and_self_contained(decoded, tmp_path):
    report, utterances = decoded
    write_folder(tmp_path, report, utterances, {"set": "test", "rtf": 0.1, "search": {"beam_size": 4}})
    text = (tmp_path / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and checker.loaded == [] and "<script" not in text
    assert "%WER 57.14" in checker.text and "<b>" in checker.text and "s1-a.wav" in checker.text
    assert "By speaker" in checker.text and "By duration" in checker.text
    assert "s2-a" not in checker.text.split("most errors")[1]  # it has none


def test_worst_first(decoded):
    assert worst(decoded[0]) == ["s1-a", "s2-b", "s1-b"]
    assert worst(decoded[0], 1) == ["s1-a"]


def test_duration_classes_hold_every_utterance_once(decoded):
    report, utterances = decoded
    rows = by_duration(report, {u["id"]: u for u in utterances})
    assert [n for _, n, _ in rows] == [1, 1, 1, 1] and sum(c.errors for *_, c in rows) == report.counts.errors
    assert rows[0][0] == "1.0 - 1.0"
    assert by_duration(report, {}) == []


def test_set_without_errors_or_utterances(tmp_path):
    write_folder(tmp_path / "none", score({}, {}), [], {"set": "none"})
    write_folder(tmp_path / "good", score({"u": "one"}, {"u": "one"}), [{"id": "u"}], {"set": "good"})
    for name in ("none", "good"):
        assert (tmp_path / name / "report.html").read_text().endswith("</html>\n")
