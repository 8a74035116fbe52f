"""Nothing is lost to SIGKILL and SIGTERM at random moments: a few of them here, hundreds with test/stress.py itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NUMBER = int(os.environ.get("RNNT_TEST_KILLS", 15))  # disturbances of each kind of work
SECONDS = os.environ.get("RNNT_TEST_KILL_SECONDS", "40")  # after which no new run is begun


def stress(*options):
    """The number of disturbances, after each of which all came out as if there had been none."""
    command = [sys.executable, str(Path(__file__).with_name("stress.py")), *options]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-5000:]
    return int(re.findall(r"^(\d+) disturbances", ended.stdout, re.MULTILINE)[-1])


@pytest.mark.slow
@pytest.mark.parametrize("work", ["train", "decode", "prepare"])
def test_killed_at_random_moments(work):
    assert stress(work, "--number", str(NUMBER), "--seconds", SECONDS) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TERM", "USR1", "INT"])
def test_hundreds_of_signals(name):
    assert stress("train", "--signal", name, "--number", str(NUMBER), "--seconds", SECONDS) > 0


def test_a_few_bursts_of_signals():
    assert stress("train", "--signal", "TERM", "--number", "2") >= 2
