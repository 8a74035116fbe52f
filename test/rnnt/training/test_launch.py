"""Who starts processes, and which of several is to blame."""

import multiprocessing
import os
import signal
import time

import pytest

from rnnt.training import launch as module
from rnnt.training.interruption import Interrupted
from rnnt.training.launch import _first_to_fail, launch


@pytest.mark.parametrize(
    "variables, many",
    [
        ({}, True),
        ({"WORLD_SIZE": "1"}, True),
        ({"WORLD_SIZE": "4", "RANK": "1"}, False),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "1"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, True),
    ],
)
def test_processes_are_started_only_where_there_are_none(monkeypatch, variables, many):
    for name in ("WORLD_SIZE", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    called = []
    monkeypatch.setattr(module, "_launch_many", lambda *arguments: called.append("many"))
    launch(lambda interruption: called.append("here"), (), 2)
    assert called == ["many" if many else "here"]


def test_an_interrupted_function_ends_with_its_status(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def function(what, interruption):
        assert what == "x" and interruption.number == 0
        raise Interrupted(signal.SIGUSR1)

    with pytest.raises(SystemExit) as stop:
        launch(function, ("x",), 1)
    assert stop.value.code == 99


def end(status, seconds):
    time.sleep(seconds)
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


@pytest.mark.parametrize(
    "ends, culprit",
    [
        ([(0, 0), (0, 0.1)], None),
        ([(0, 0), (7, 0.1)], (1, 7)),
        ([(1, 0), (-9, 0.1), (1, 0.1)], (1, -9)),
        ([(1, 0), (-9, 20)], (0, 1)),
    ],
)
def test_the_culprit_is_the_first_or_the_one_that_was_killed(ends, culprit):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=end, args=one) for one in ends]
    for process in processes:
        process.start()
    assert _first_to_fail(processes) == culprit
    for process in processes:
        process.kill()
        process.join()
