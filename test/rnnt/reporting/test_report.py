"""report.py: what training writes, read back; pages that are well-formed and complete."""

import json
import xml.etree.ElementTree as ET

import pytest

from rnnt.pages.svg import line_plot, log_ticks, thinned, ticks
from rnnt.reporting.history import read_history
from rnnt.reporting.page import page
from rnnt.reporting.program import main
from rnnt.train import main as train


@pytest.fixture
def checked(checked_page):
    """Checks a page, which runs no script and fetches nothing."""

    def check(text):
        checker = checked_page(text)
        assert checker.fetched == [] and "script" not in checker.tags
        return checker

    return check


def write(folder, *records):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"time": 1e9 + i, **record}) for i, record in enumerate(records)]
    (folder / "training.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def progress(step, loss, **more):
    return {"kind": "progress", "step": step, "epoch": step / 10, "loss": loss, "ctc": loss, "lr": 0.1, **more}


def dev(epoch, wer):
    return {"kind": "dev", "step": 10 * epoch, "epoch": epoch, "wer": wer, "cer": wer / 2, "ref": "a <b>", "hyp": "a"}


def test_a_training_and_its_page(tmp_path, toy_argv, capsys, checked):
    """Of a training that is continued: it has a restart and no point twice."""
    exp = tmp_path / "exp"
    train(toy_argv(exp, num_epochs=1, log_interval=1))
    train(toy_argv(exp, num_epochs=2, log_interval=1))
    history = read_history(exp)
    steps = [record["step"] for record in history.progress]
    assert steps == list(range(1, steps[-1] + 1))
    assert [e.epoch for e in history.evaluations] == [1, 2] and len(history.starts) == 2 and history.ended
    assert history.losses()[0] == "loss" and len(history.losses()) > 1
    assert all(record["memory_bytes"] > 1e7 for record in history.progress)
    capsys.readouterr()
    main([str(exp), "--png", str(exp / "pictures")])
    pictures = sorted((exp / "pictures").iterdir())
    assert len(pictures) == 9 and all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert capsys.readouterr().out.splitlines()[-10] == str(exp / "report.html")
    text = (exp / "report.html").read_text()
    assert checked(text).tags.count("svg") == 9
    assert "restarts 1; skipped updates 0; ended" in text


def test_what_a_restart_makes_anew_is_not_there_twice(tmp_path, checked):
    exp = write(
        tmp_path / "exp", {"kind": "start", "step": 0, "epochs": 3}, progress(5, 9.0), progress(10, 8.0), dev(1, 50.0),
        progress(15, 7.0), {"kind": "skipped", "step": 16, "utterances": ["u1", "u2"]},
        {"kind": "start", "step": 10, "epochs": 3}, progress(15, 6.0), progress(20, None),
        {"kind": "skipped", "step": 18, "utterances": ["u3"]}, dev(2, 30.0),
    )  # fmt: skip
    with open(exp / "training.jsonl", "a") as file:
        file.write('{"kind": "progr')  # killed while it wrote
    history = read_history(exp)
    assert history.curve("loss") == [(0.5, 9.0), (1.0, 8.0), (1.5, 6.0)]
    assert history.skipped == [(18, ["u3"])] and history.ended is None and history.epochs == 3
    text = page([history])
    assert "update 18: u3" in text and "a &lt;b&gt;" in text and 'data-state="learning"' in text
    checked(text)


def test_experiments_lie_over_each_other(tmp_path, checked):
    a = write(tmp_path / "a", {"kind": "start", "step": 0}, progress(5, 9.0), progress(6, 8.0), dev(1, 20.0))
    b = write(tmp_path / "b", {"kind": "start", "step": 0}, progress(5, 3.0), progress(6, 2.0))
    main([str(a), str(b), "--out", str(tmp_path / "both.html")])
    text = (tmp_path / "both.html").read_text()
    assert checked(text).tags.count("polyline") == 6  # loss and learning rate of both, WER and CER of one
    assert text.count('class="verdict"') == 2


def test_without_training_jsonl_the_wer_is_shown(tmp_path, checked):
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 1, "step": 3, "dev_wer": 40.0, "blank_fraction": 0.9}\n')
    text = page([read_history(tmp_path)])
    assert "learning: the WER is 40.0 %" in text.lower().replace("wer", "WER") and checked(text).tags.count("svg") == 2


def test_a_folder_without_a_training_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "neither training.jsonl nor epochs.jsonl in it" in capsys.readouterr().err


def test_plots():
    assert line_plot({"a": [(0, float("nan"))]}, "x") == ""
    ET.fromstring(line_plot({"a": [(1, 5.0)]}, "x"))  # a single point
    peak = [(x, 100.0 if x == 7777 else 1.0) for x in range(10000)]
    assert len(thinned(peak)) <= 700 and (7777, 100.0) in thinned(peak) and thinned(peak)[-1] == peak[-1]
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert log_ticks(0.02, 30) == pytest.approx([0.1, 1, 10]) and log_ticks(1.5, 7) == [2, 4, 6]
    assert log_ticks(0.8, 12) == pytest.approx([1, 3, 10]) and log_ticks(94.9, 95.2) == ticks(94.9, 95.2)
    assert ticks(980, 1030) == [980, 990, 1000, 1010, 1020, 1030]
