import json

import pytest

from rnnt.errors import UserError
from rnnt.scoring import score
from rnnt.scoring.results_dir import decoded_sets, read_results_dir, read_utterances, write_results_dir

REFS = {"s1-a": "one two", "s1-b": "", "s2-a": "three"}


def write(folder):
    report = score(REFS, {"s1-a": "one too", "s1-b": ""}, speakers={"s1-a": "s1", "s1-b": "s1", "s2-a": "s2"})
    utterances = [{"id": key, "speaker": key[:2], "words": []} for key in REFS]
    return report, write_results_dir(folder, report, utterances, {"set": "test", "rtf": 0.5})


def test_what_is_written_is_read(tmp_path):
    report, summary = write(tmp_path / "test")
    again, stored = read_results_dir(tmp_path / "test")
    assert (
        stored == summary
        and summary["set"] == "test"
        and summary["groups"] == 3
        and summary["drawn"] == "utterances"
        and summary["missing"] == 1
    )
    assert again.summary() == report.summary() and again.speakers == report.speakers
    assert list(again.error_lines()) == list(report.error_lines())
    assert (tmp_path / "test" / "wer").read_text().splitlines() == report.summary_lines()


def test_ids_with_blanks_and_brackets(tmp_path):
    refs = {"my talk 20": "three eight", "my talk 21": "three", "talk (0)": "one", "odd) (id": "two"}
    report = score(refs, {**refs, "talk (0)": "nine"})
    write_results_dir(tmp_path / "test", report, [{"id": key} for key in refs], {"set": "test", "rtf": 0.5})
    again, _ = read_results_dir(tmp_path / "test")
    assert again.refs == refs and again.summary() == report.summary()


def test_broken_folders_are_named(tmp_path):
    write(tmp_path / "test")
    (tmp_path / "test" / "utterances.jsonl").write_text("{")
    with pytest.raises(UserError, match="not valid JSON lines"):
        read_utterances(tmp_path / "test")
    with pytest.raises(UserError, match="summary.json: no such file"):
        read_results_dir(tmp_path)


def test_decoded_sets(tmp_path):
    write(tmp_path / "decode_greedy_search" / "test")
    (tmp_path / "decode_beam_search" / "test").mkdir(parents=True)  # without summary.json: not complete
    [found] = decoded_sets([tmp_path])
    assert found == {("greedy_search", "test"): tmp_path / "decode_greedy_search" / "test"}
    assert json.loads((found["greedy_search", "test"] / "summary.json").read_text())["words"] == 3
    with pytest.raises(UserError, match="no decode_"):
        decoded_sets([tmp_path / "other"])
