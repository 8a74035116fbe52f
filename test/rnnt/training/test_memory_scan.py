"""The scan of the worst micro-batches finds them, says what they need, and leaves nothing behind."""

import numpy as np
import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.model.objectives.base import TrainingModel
from rnnt.train import main
from rnnt.training.memory_scan import PeakMemory, worst_positions


def test_worst_micro_batches():
    durations = np.array([1.0, 1.0, 1.0, 10.0, 4.0, 4.0])
    tokens = np.array([20, 30, 20, 2, 16, 16])
    plan = [np.array([0, 1, 2]), np.array([3]), np.array([4, 5])]
    assert worst_positions(plan, durations, tokens) == {
        "most frames": 1,
        "longest frames": 1,
        "most tokens": 0,
        "most frames x tokens": 2,
    }


def test_peak_of_memory_sees_what_was_given_back():
    with PeakMemory(torch.device("cpu")) as small:
        pass
    with PeakMemory(torch.device("cpu")) as large:
        torch.ones(50_000_000)
    assert large.bytes - small.bytes > 150_000_000


def test_scan_changes_nothing_and_logs_memory(tmp_path, toy_argv, capsys):
    main(toy_argv(tmp_path / "without"))
    capsys.readouterr()
    main(toy_argv(tmp_path / "with", scan_batches="true"))
    output = capsys.readouterr().out
    lines = [line for line in output.splitlines() if "scan: micro-batch with the" in line]
    assert lines and all(line.endswith("GB") and " utterances, longest " in line for line in lines)
    for reason in ("most frames", "longest frames", "most tokens", "most frames x tokens"):
        assert sum(reason in line for line in lines)
    one, two = (load_checkpoint(tmp_path / name / "epoch-2.pt") for name in ("without", "with"))
    assert all(torch.equal(value, two["model"][name]) for name, value in one["model"].items())
    with open(tmp_path / "without" / "epochs.jsonl") as f, open(tmp_path / "with" / "epochs.jsonl") as g:
        assert f.read() == g.read()


def test_what_does_not_fit_is_said_in_one_line(tmp_path, toy_argv, capsys, monkeypatch):
    def forward(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(TrainingModel, "forward", forward)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path, scan_batches="true"))
    error = capsys.readouterr().err.splitlines()[-1]  # after a progress bar
    assert stop.value.code == 1
    assert "does not fit into memory; lower --max-duration" in error and "micro-batch with the" in error
