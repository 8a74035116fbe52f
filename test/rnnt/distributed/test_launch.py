"""Who starts processes, which of several failed first, and how the others end when one does."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from rnnt.distributed import launch as module
from rnnt.distributed.launch import _first_to_fail, free_port, launch
from rnnt.distributed.signals import Interrupted


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
    "ends, failed",
    [
        ([(0, 0), (0, 0.1)], None),
        ([(0, 0), (7, 0.1)], (1, 7)),
        ([(1, 0), (-9, 0.1), (1, 0.1)], (1, -9)),
        ([(1, 0), (-9, 20)], (0, 1)),
    ],
)
def test_the_failed_one_is_the_first_or_the_one_that_was_killed(ends, failed):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=end, args=one) for one in ends]
    for process in processes:
        process.start()
    assert _first_to_fail(processes) == failed
    for process in processes:
        process.kill()
        process.join()


TWO_RANKS = """
import os, signal, sys

from rnnt.cli import program
from rnnt.distributed.launch import launch
from rnnt.errors import UserError


def meet_and_fail(how, interruption):
    from rnnt.distributed.world import join_world

    world = join_world("cpu", timeout=100)
    world.barrier()
    if world.rank == 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise UserError("f.txt: bad; fix it") if how == "UserError" else ValueError("no such\\nthing")
    world.barrier()
    print("continued without rank 1")


@program
def main(argv=None):
    launch(meet_and_fail, (sys.argv[1],), 2)


if __name__ == "__main__":
    main()
"""

REASONS = {
    "UserError": "failed: f.txt: bad; fix it",
    "ValueError": "failed: ValueError: no such thing",
    "killed": "gives no sign of life",
}


@pytest.fixture
def start_ranks(tmp_path):
    """`start_ranks(how, **variables)`: starts a program in which rank 1 fails after the two ranks have met."""
    program, started = tmp_path / "two_ranks.py", []
    program.write_text(TWO_RANKS)

    def start(how, **variables):
        inherited = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, str(program), how]
        started.append(subprocess.Popen(command, env={**inherited, **variables}, **output))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["ValueError", pytest.param("UserError", marks=pytest.mark.slow)])
def test_a_rank_that_fails_after_they_met_ends_the_other_with_one_line_that_names_it(start_ranks, how):
    """As under srun or torchrun, where no parent ends the ranks. For a killed one: test_world.py."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [start_ranks(how, RANK=str(rank), **shared) for rank in (0, 1)]
    (out, error), (_, own) = (rank.communicate(timeout=100) for rank in ranks)
    assert [rank.returncode for rank in ranks] == [1, 1], error + own
    lines = [line for line in error.splitlines() if not line.startswith("[Gloo]")]
    assert lines == [f"two_ranks.py: error: rank 1 on {socket.gethostname()} {REASONS[how]}; this rank ends too"]
    assert "continued" not in out
    if how == "ValueError":  # a defect: the rank that failed shows where
        assert "Traceback" in own and "ValueError: no such" in own
    else:
        assert own.endswith("two_ranks.py: error: f.txt: bad; fix it\n") and "Traceback" not in own


@pytest.mark.slow
@pytest.mark.parametrize("how", list(REASONS))
def test_a_rank_of_this_machine_that_fails_ends_all(start_ranks, how):
    process = start_ranks(how)
    out, error = process.communicate(timeout=100)
    assert process.returncode == 1 and "continued" not in out
    lines = [line for line in error.splitlines() if not line.startswith("[Gloo]")]
    host = socket.gethostname()
    assert f"two_ranks.py: error: rank 0: rank 1 on {host} {REASONS[how]}; this rank ends too" in lines
    if how == "ValueError":  # a defect: the rank that failed shows where, whichever was the first to end
        assert "two_ranks.py: error: rank 1:\nTraceback" in error and "ValueError: no such\nthing\n" in error
    else:
        assert all("rank 1" in line for line in lines)
    assert (f"on {host}) was killed by SIGKILL; the others were ended" in lines[-1]) == (how == "killed")
