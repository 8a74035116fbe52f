"""A run that is asked to end writes a checkpoint, says so by its status, and continues bit for bit."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint, newest_checkpoint, numbered
from rnnt.distributed.launch import free_port
from rnnt.distributed.signals import Interruption, exit_status
from rnnt.train import main


@pytest.fixture(autouse=True)
def own_handlers():
    """What a run that was asked to end leaves behind would count for all tests after it."""
    before = {number: signal.getsignal(number) for number in Interruption.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_are_noted_and_handlers_given_back():
    before = signal.getsignal(signal.SIGTERM)
    passed = []
    with Interruption(passed.append) as interruption:
        assert interruption.number == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.number == signal.SIGUSR1 and passed == [signal.SIGUSR1, signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_leaves_because_of_a_signal_is_not_ended_by_another():
    with pytest.raises(SystemExit), Interruption():
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(99)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit), Interruption():
        raise SystemExit(1)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # as it was


def test_a_signal_while_a_finished_process_exits_does_not_change_its_status():
    code = """
import atexit, os, signal
atexit.register(os.kill, os.getpid(), signal.SIGUSR1)
from rnnt.distributed.signals import Interruption
with Interruption():
    pass
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


LSTM = """
import os, signal, sys, threading, time
from rnnt.cli import program

def send():
    for _ in range(400):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.002)
    print("survived", flush=True)
    os._exit(0)

@program
def main(argv=None):
    import torch
    from rnnt.distributed.device import set_threads
    set_threads(int(sys.argv[1]), 1)
    signal.signal(signal.SIGTERM, lambda *_: None)
    lstm = torch.nn.LSTM(64, 256, 2, bidirectional=True, batch_first=True)
    threading.Thread(target=send, daemon=True).start()
    while True:
        lstm(torch.randn(8, 60, 64))[0].sum().backward()

main()
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_signals_while_an_lstm_computes_do_no_harm(threads):
    """Nothing of a training but torch's LSTM under a handler: without a stack of its own it dies within a second."""
    ended = subprocess.run([sys.executable, "-c", LSTM, str(threads)], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout == "survived\n", ended.stderr


BLOCKED = """
import os, signal, torch
from rnnt.distributed.device import set_threads

def threads():
    return set(os.listdir("/proc/self/task"))

before = threads()
set_threads(3, 1)
torch.randn(900, 900) @ torch.randn(900, 900)
for thread in threads() - before:
    lines = open(f"/proc/self/task/{thread}/status").read().splitlines()
    mask = int(next(line for line in lines if line.startswith("SigBlk")).split()[1], 16)
    print(bool(mask >> signal.SIGTERM - 1 & 1), bool(mask >> signal.SIGSEGV - 1 & 1))
assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
def test_threads_that_compute_take_no_signals():
    lines = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True).stdout
    assert set(lines.splitlines()) == {"True False"}


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


def assert_equal_weights(one, other, name="epoch-2.pt"):
    states = [load_checkpoint(exp / name) for exp in (one, other)]
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
def test_a_signal_leads_to_a_checkpoint_from_which_it_continues(tmp_path, toy_argv, number, status, options, to_group):
    exp = tmp_path / "exp"
    process = start(toy_argv(exp, **LAST, **options))
    wait_for_update(process, exp)
    send(process, number, to_group)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == status, output
    reported = [line for line in output.splitlines() if "the same command continues from there" in line]
    assert len(reported) == 1 and signal.Signals(number).name in reported[0] and f"exit status {status}" in reported[0]
    assert "Traceback" not in output
    _, last = newest_checkpoint(exp, print)
    assert f"update {last['position']['step']}:" in reported[0]
    main(toy_argv(exp, **LAST, **options))
    main(toy_argv(tmp_path / "uninterrupted", **options))
    assert_equal_weights(exp, tmp_path / "uninterrupted")


def torchrun(*options):
    words = ["--nproc-per-node=2", "--master-port", str(free_port()), *options]
    return ["-m", "rnnt.distributed.elastic", *words]


@pytest.mark.slow
@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 99), (signal.SIGUSR1, 99), (signal.SIGINT, 130)])
def test_torchrun_passes_the_signal_on_and_says_what_happened(tmp_path, toy_argv, number, status):
    exp = tmp_path / "exp"
    process = start(toy_argv(exp, **LAST), *torchrun())
    wait_for_update(process, exp)
    send(process, number, to_group=False)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == status and output.count("the same command continues from there") == 1, output
    main(toy_argv(exp, **LAST, world_size=2))
    main(toy_argv(tmp_path / "uninterrupted", world_size=2))
    assert_equal_weights(exp, tmp_path / "uninterrupted")


@pytest.mark.slow
def test_torchrun_starts_the_ranks_again_when_one_is_lost(tmp_path, toy_argv):
    exp = tmp_path / "exp"
    process = start(toy_argv(exp, save_every_n=1, num_epochs=6), *torchrun("--max-restarts=1"))
    wait_for_update(process, exp)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "continuing from" in output, output
    main(toy_argv(tmp_path / "uninterrupted", world_size=2, num_epochs=6))
    assert_equal_weights(exp, tmp_path / "uninterrupted", "epoch-6.pt")


def test_a_signal_during_the_evaluation(tmp_path, toy_argv, monkeypatch):
    from rnnt.training.tasks import recognition

    def first(*arguments, **keywords):
        monkeypatch.setattr(recognition, "evaluate", evaluate)
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **keywords)

    evaluate = recognition.evaluate
    monkeypatch.setattr(recognition, "evaluate", first)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp"))
    assert stop.value.code == 99
    assert list(numbered(tmp_path / "exp", "epoch")) == [1] and not (tmp_path / "exp" / "epochs.jsonl").exists()
    main(toy_argv(tmp_path / "exp"))
    main(toy_argv(tmp_path / "uninterrupted"))
    assert_equal_weights(tmp_path / "exp", tmp_path / "uninterrupted")
    one, two = ((tmp_path / name / "epochs.jsonl").read_text() for name in ("exp", "uninterrupted"))
    assert one == two
