"""A run that is asked to end saves where it stands, says so by its status, and goes on bit for bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from rnnt.train import main
from rnnt.training.checkpoint import load_checkpoint, newest_checkpoint, numbered
from rnnt.training.interruption import Interruption, exit_status
from rnnt.training.launch import free_port


def test_signals_are_noted_and_handlers_given_back():
    before = signal.getsignal(signal.SIGTERM)
    passed = []
    with Interruption(passed.append) as interruption:
        assert interruption.number == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.number == signal.SIGUSR1 and passed == [signal.SIGUSR1, signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_a_second_interrupt_some_time_later_ends_at_once():
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.number == signal.SIGINT
        interruption._noted -= 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


def test_status_says_who_starts_it_again():
    assert [exit_status(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)] == [99, 99, 130]


def start(argv, *launcher):
    """A training in a process group of its own, with its output kept."""
    command = [sys.executable, *launcher, "-m", "rnnt.train", *argv]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, start_new_session=True, **output)


def wait_for_update(process, exp, number=2):
    deadline = time.time() + 100
    while process.poll() is None and time.time() < deadline:
        if max(numbered(exp, "checkpoint"), default=0) >= number:
            return
        time.sleep(0.01)
    raise AssertionError(f"no update {number}: {process.communicate()[0]}")


def send(process, number, to_group):
    (os.killpg if to_group else os.kill)(process.pid, number)


def assert_equal_weights(one, other):
    states = [load_checkpoint(exp / "epoch-2.pt") for exp in (one, other)]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name


LAST = {"keep_last_k": 99, "save_every_n": 1}


@pytest.mark.parametrize(
    "number, status, options, to_group",
    [
        (signal.SIGTERM, 99, {}, False),
        pytest.param(signal.SIGUSR1, 99, {"num_workers": 2}, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, {}, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 99, {"world_size": 2}, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 99, {"world_size": 2, "num_workers": 1}, True, marks=pytest.mark.slow),
    ],
)
def test_a_signal_leads_to_a_checkpoint_from_which_it_goes_on(tmp_path, toy_argv, number, status, options, to_group):
    exp = tmp_path / "exp"
    process = start(toy_argv(exp, **LAST, **options))
    wait_for_update(process, exp)
    send(process, number, to_group)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == status, output
    said = [line for line in output.splitlines() if "the same command goes on from there" in line]
    assert len(said) == 1 and signal.Signals(number).name in said[0] and f"exit status {status}" in said[0]
    assert "Traceback" not in output
    _, last = newest_checkpoint(exp, print)
    assert f"update {last['position']['step']}:" in said[0]
    main(toy_argv(exp, **LAST, **options))
    main(toy_argv(tmp_path / "whole", **options))
    assert_equal_weights(exp, tmp_path / "whole")


@pytest.mark.slow
def test_torchrun_passes_the_signal_on(tmp_path, toy_argv):
    exp = tmp_path / "exp"
    port = str(free_port())
    process = start(toy_argv(exp, **LAST), "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port", port)
    wait_for_update(process, exp)
    send(process, signal.SIGTERM, to_group=False)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0 and output.count("the same command goes on from there") == 1
    main(toy_argv(exp, **LAST, world_size=2))
    main(toy_argv(tmp_path / "whole", world_size=2))
    assert_equal_weights(exp, tmp_path / "whole")


def test_a_signal_during_the_evaluation(tmp_path, toy_argv, monkeypatch):
    from rnnt.training import loop

    def first(*arguments, **keywords):
        monkeypatch.setattr(loop, "evaluate", evaluate)
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **keywords)

    evaluate = loop.evaluate
    monkeypatch.setattr(loop, "evaluate", first)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp"))
    assert stop.value.code == 99
    assert list(numbered(tmp_path / "exp", "epoch")) == [1] and not (tmp_path / "exp" / "epochs.jsonl").exists()
    main(toy_argv(tmp_path / "exp"))
    main(toy_argv(tmp_path / "whole"))
    assert_equal_weights(tmp_path / "exp", tmp_path / "whole")
    one, two = ((tmp_path / name / "epochs.jsonl").read_text() for name in ("exp", "whole"))
    assert one == two
