"""One training at a time in an experiment folder."""

import os
import signal
import subprocess
import sys

import pytest

from rnnt.errors import UserError
from rnnt.train import main
from rnnt.training.experiment import lock_experiment

HOLDER = """
import sys
from rnnt.training.experiment import lock_experiment
lock = lock_experiment(sys.argv[1])
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed `tmp_path / "exp"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "exp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "claimed\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_training_is_refused_and_says_who_is_there(tmp_path, holder, toy_argv, capsys):
    with pytest.raises(SystemExit) as ended:
        main(toy_argv(tmp_path / "exp"))
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert f"{tmp_path / 'exp'}: another training is at work there (process {holder.pid} on" in message
    assert not (tmp_path / "exp" / "config.json").exists()


FORKED = """
import os, signal, sys, time
from rnnt.training.experiment import lock_experiment
lock = lock_experiment(sys.argv[1])
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_loads_features_for_a_killed_training_does_not_hold_its_lock(tmp_path):
    command = [sys.executable, "-c", FORKED, tmp_path / "exp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    process.wait()
    try:
        lock_experiment(tmp_path / "exp").close()
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_the_folder_is_free_when_its_training_is_gone(tmp_path, holder):
    with pytest.raises(UserError, match="another training"):
        lock_experiment(tmp_path / "exp")
    holder.kill()
    holder.wait()
    with lock_experiment(tmp_path / "exp"), pytest.raises(UserError, match="another training"):
        lock_experiment(tmp_path / "exp")
    lock_experiment(tmp_path / "exp").close()
