"""Ranks that are started one by one, as srun does it: they meet, and no rank waits for ever for one that is gone."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint, numbered
from rnnt.distributed.launch import free_port
from rnnt.train import main


@pytest.fixture
def srun(toy_argv, tmp_path):
    """`srun(rank, port, **options)`: one of two tasks of a Slurm step, as its variables describe it."""
    started = []

    def start(rank, port, **options):
        variables = {
            "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank), "SLURM_STEP_NODELIST": "no-such-host[1-2]", "MASTER_ADDR": "127.0.0.1",
        }  # fmt: skip
        argv = toy_argv(tmp_path / "exp", master_port=port, **options)
        command = [sys.executable, "-m", "rnnt.train", *argv]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, env={**os.environ, **variables}, **output))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for_update(process, exp):
    deadline = time.time() + 100
    while not numbered(exp, "checkpoint"):
        assert process.poll() is None and time.time() < deadline, process.communicate()[0]
        time.sleep(0.01)


MANY = {"num_epochs": 500, "save_every_n": 1}


@pytest.mark.slow
def test_srun_equals_world_size_and_every_rank_is_logged(srun, tmp_path, toy_argv):
    port = free_port()
    ranks = [srun(rank, port) for rank in (0, 1)]
    output = [rank.communicate(timeout=100)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], output
    host = socket.gethostname()
    for rank in (0, 1):
        line = f"rank {rank} of 2: {host}, process {ranks[rank].pid}, cpu, gloo"
        assert output[0].count(line) == 1 and line not in output[1]
    main(toy_argv(tmp_path / "world-size", world_size=2))
    one, two = (load_checkpoint(tmp_path / name / "epoch-2.pt")["model"] for name in ("exp", "world-size"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_is_named_by_the_other_which_ends(srun, tmp_path, victim):
    port = free_port()
    ranks = [srun(rank, port, **MANY) for rank in (0, 1)]
    wait_for_update(ranks[0], tmp_path / "exp")
    ranks[victim].kill()
    output = ranks[1 - victim].communicate(timeout=60)[0]
    assert ranks[1 - victim].returncode == 1
    last = output.splitlines()[-1]
    assert f"rank {victim} on {socket.gethostname()}" in last and "this rank ends too" in last, output


@pytest.mark.slow
def test_a_silent_rank_is_named_after_the_timeout(srun, tmp_path):
    port = free_port()
    ranks = [srun(rank, port, **MANY, dist_timeout=5) for rank in (0, 1)]
    wait_for_update(ranks[0], tmp_path / "exp")
    ranks[1].send_signal(signal.SIGSTOP)
    output = ranks[0].communicate(timeout=60)[0]
    assert ranks[0].returncode == 1
    last = output.splitlines()[-1]
    assert f"rank 1 on {socket.gethostname()}" in last and "no sign of life" in last, output


def test_a_rank_that_never_comes_is_named(srun):
    rank = srun(0, free_port(), dist_timeout=2)
    output = rank.communicate(timeout=60)[0]
    assert rank.returncode == 1
    assert "rank 1 did not come to 127.0.0.1:" in output and "1 of 2 are there" in output


@pytest.mark.slow
def test_rank_0_that_never_comes_is_named(srun):
    port = free_port()
    rank = srun(1, port, dist_timeout=2)
    output = rank.communicate(timeout=60)[0]
    assert rank.returncode == 1 and f"can't reach rank 0 at 127.0.0.1:{port} within 2 s" in output


@pytest.mark.slow
def test_world_size_names_the_rank_that_was_killed(tmp_path, toy_argv):
    argv = toy_argv(tmp_path / "exp", world_size=2, **MANY)
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen([sys.executable, "-m", "rnnt.train", *argv], **pipe)
    wait_for_update(process, tmp_path / "exp")
    log = (tmp_path / "exp" / "log" / "train.txt").read_text()
    pid = int(log.split("rank 1 of 2: ")[1].split("process ")[1].split(",")[0])
    os.kill(pid, signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert f"rank 1 (process {pid} on {socket.gethostname()}) was killed by SIGKILL" in output
