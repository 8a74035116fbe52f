import json

import pytest

from rnnt.errors import UserError
from rnnt.scoring import score
from rnnt.scoring.folder import decoded_sets, read_folder, read_utterances, write_folder

REFS = {"s1-a": "one two", "s1-b": "", "s2-a": "three"}


def write(folder):
    report = score(REFS, {"s1-a": "one too", "s1-b": ""}, speakers={"s1-a": "s1", "s1-b": "s1", "s2-a": "s2"})
    utterances = [{"id": key, "speaker": key[:2], "words": []} for key in REFS]
    return report, write_folder(folder, report, utterances, {"set": "test", "rtf": 0.5})


def test_what_is_written_is_read(tmp_path):
    report, summary = write(tmp_path / "test")
    again, stored = read_folder(tmp_path / "test")
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


def test_broken_folders_are_named(tmp_path):
    write(tmp_path / "test")
    (tmp_path / "test" / "utterances.jsonl").write_text("{")
    with pytest.raises(UserError, match="not valid JSON lines"):
        read_utterances(tmp_path / "test")
    with pytest.raises(UserError, match="summary.json: no such file"):
        read_folder(tmp_path)


def test_decoded_sets(tmp_path):
    write(tmp_path / "decode_greedy_search" / "test")
    (tmp_path / "decode_beam_search" / "test").mkdir(parents=True)  # without summary.json: not whole
    [found] = decoded_sets([tmp_path])
    assert found == {("greedy_search", "test"): tmp_path / "decode_greedy_search" / "test"}
    assert json.loads((found["greedy_search", "test"] / "summary.json").read_text())["words"] == 3
    with pytest.raises(UserError, match="no decode_"):
        decoded_sets([tmp_path / "other"])
