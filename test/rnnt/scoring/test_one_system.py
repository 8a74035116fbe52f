import json
import re
import shutil
import subprocess

import pytest

from rnnt.pages.listening import SCRIPT
from rnnt.scoring import score
from rnnt.scoring.pages.one_system import by_duration, worst
from rnnt.scoring.results_dir import write_results_dir


@pytest.fixture
def decoded():
    refs = {"s1-a": "one two three", "s1-b": "four <b>", "s2-a": "five", "s2-b": "six"}
    hyps = {"s1-a": "one too", "s1-b": "four <i>", "s2-a": "five", "s2-b": "oh six"}
    report = score(refs, hyps, speakers={key: key[:2] for key in refs})
    utterances = [
        {"id": key, "speaker": key[:2], "seconds": 1.0 + i, "audio": [f"{key}.wav"]} for i, key in enumerate(refs)
    ]
    return report, utterances


def test_page_is_well_formed_and_self_contained(decoded, tmp_path, checked_page):
    report, utterances = decoded
    write_results_dir(tmp_path, report, utterances, {"set": "test", "rtf": 0.1, "search": {"beam_size": 4}})
    text = (tmp_path / "report.html").read_text()
    checker = checked_page(text)
    assert checker.open == [] and checker.fetched == []
    assert "%WER 57.14" in checker.text and "<b>" in checker.text and "s1-a.wav" in checker.text
    assert "By speaker" in checker.text and "By duration" in checker.text
    assert "s2-a" not in checker.text.split("most errors")[1]  # it has none


def test_audio_that_is_there_is_played_from_the_page(decoded, tmp_path, monkeypatch, checked_page):
    report, utterances = decoded
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x#.wav").touch()
    utterances[0]["audio"] = ["a b/x#.wav"]
    write_results_dir("exp/decode/test", report, utterances, {"set": "test"})
    checker = checked_page((tmp_path / "exp/decode/test/report.html").read_text())
    assert checker.fetched == ["../../../a%20b/x%23.wav"]
    players = [attributes for tag, attributes in checker.attributes if tag == "audio"]
    assert len(players) == 1 and players[0]["preload"] == "none"


def test_filters_know_words_speakers_and_durations(decoded, tmp_path, checked_page):
    write_results_dir(tmp_path, *decoded, {"set": "test"})
    checker = checked_page((tmp_path / "report.html").read_text())
    shown = [attributes for _, attributes in checker.attributes if attributes.get("class") == "utt"]
    assert [u["data-words"] for u in shown] == ["one three too two", "oh six", "<b> <i> four"]
    assert [(u["data-speaker"], u["data-seconds"]) for u in shown] == [("s1", "1"), ("s2", "4"), ("s1", "2")]
    named = [attributes["name"] for tag, attributes in checker.attributes if tag in ("input", "select")]
    # What the script asks for is in the form and in the utterances.
    assert set(named) == set(re.findall(r"form[.](\w+)[.]value", SCRIPT))
    assert {f"data-{name}" for name in re.findall(r"data[.](\w+)", SCRIPT)} <= shown[0].keys()
    assert checker.text.count("s1") >= 1 and checker.attributes.count(("option", {"value": ""})) == 2


BROWSER = """
const values = %s, utterances = %s, counter = {};
const fields = ["word", "speaker", "kind", "least", "most"].map(name => [name, {value: values[name] || ""}]);
const stub = {...Object.fromEntries(fields), addEventListener: (event, run) => { stub[event] = run; }};
globalThis.document = {
  getElementById: id => id === "filters" ? stub : counter,
  querySelectorAll: () => utterances,
};
%s
stub.input();
console.log(JSON.stringify([utterances.map(u => !u.hidden), counter.textContent]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, which runs the script of the page")
@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, [True, True, True]),
        ({"word": " TOO "}, [True, False, False]),
        ({"word": "to"}, [False, False, False]),  # words, not parts of them
        ({"speaker": "s1"}, [True, False, True]),
        ({"least": "1.5", "most": "3"}, [False, False, True]),
        ({"kind": "D"}, [True, False, False]),
        ({"kind": "S"}, [True, False, True]),
        ({"word": "six", "speaker": "s1"}, [False, False, False]),
    ],
)
def test_what_the_filters_show(decoded, tmp_path, values, expected, checked_page):
    write_results_dir(tmp_path, *decoded, {"set": "test"})
    checker = checked_page((tmp_path / "report.html").read_text())
    shown = [attributes for _, attributes in checker.attributes if attributes.get("class") == "utt"]
    data = [{"dataset": {name[5:]: v for name, v in u.items() if name.startswith("data-")}} for u in shown]
    script = BROWSER % (json.dumps(values), json.dumps(data), SCRIPT)
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [expected, f"{sum(expected)} shown"]


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
    write_results_dir(tmp_path / "none", score({}, {}), [], {"set": "none"})
    write_results_dir(tmp_path / "good", score({"u": "one"}, {"u": "one"}), [{"id": "u"}], {"set": "good"})
    for name in ("none", "good"):
        assert (tmp_path / name / "report.html").read_text().endswith("</html>\n")
