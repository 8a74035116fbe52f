"""tools/setup.sh, with a made Python and pip: what it does when, and how it recovers."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "tools" / "setup.sh"

# Stands for Python, venv and pip: notes its calls, and fails where a file named after the step says so.
PYTHON = """#!/usr/bin/env bash
state={state}
echo "$*" >>"$state/calls"
case "$*" in
  *"-m venv"*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python3"
    ;;
  *"-m pip --version"*) [ ! -e "$state/broken" ] ;;
  *"-m pip install"*--dry-run*) echo "Would install$([ ! -e "$state/missing" ] || echo " jiwer-4") rnnt-0.1.0" ;;
  *"-m pip install"*-e*)
    sleep "$(cat "$state/slow" 2>/dev/null || echo 0)"
    [ ! -e "$state/fail" ] || {{ echo "no route to host"; exit 1; }}
    touch "$state/installed"
    ;;
  *"m.version('torch')"*) [ -e "$state/installed" ] ;;
  *"m.version("*) exit 1 ;;
  *find_wheel.py*) echo "example.org: no answer in 10 s" >&2; exit 1 ;;
  *torch.version.cuda*) echo cpu.torch2.8.0 ;;
  *check_env.py*) [ ! -e "$state/bad" ] || {{ echo "BAD torch missing"; exit 1; }} ;;
esac
"""


class Checkout:
    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.venv = folder / "tools/venv"
        self.state.mkdir(parents=True)
        (folder / "tools").mkdir()
        shutil.copy(SETUP, folder / "tools/setup.sh")
        (folder / "tools/constraints.txt").write_text("torch==2.8.0\n")
        (folder / "setup.py").write_text("# one\n")
        self.python = folder / "state/python"
        self.python.write_text(PYTHON.format(state=self.state))
        self.python.chmod(0o755)
        # df says what the test wants.
        self.gigabytes(100)

    def gigabytes(self, number):
        df = self.state / "df"
        df.write_text(f"#!/bin/sh\necho header\necho disk 0 0 {number * 1024 * 1024} 0% /\n")
        df.chmod(0o755)

    def environment(self, **more):
        return {"PATH": f"{self.state}:/usr/bin:/bin", "PYTHON": str(self.python), **more}

    def setup(self, *arguments, **more):
        command = [str(self.folder / "tools/setup.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=self.environment(**more))

    def calls(self, part):
        """The calls of Python with these words since the last time."""
        path = self.state / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.write_text("")
        return [line for line in lines if part in line]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def test_first_run_builds_and_says_what_it_got(checkout):
    result = checkout.setup()
    assert result.returncode == 0, result.stderr
    assert "k2: no wheel (example.org: no answer in 10 s); the native loss gives the same numbers" in result.stdout
    assert "kaldifeat: no wheel" in result.stdout and "ready: " in result.stdout
    (install,) = checkout.calls(" -e ")
    assert "-c " in install and install.endswith(f"-e {checkout.folder}[test,espeak,torchaudio]")


def test_second_run_does_nothing_until_setup_py_changes(checkout):
    checkout.setup()
    checkout.calls("")
    result = checkout.setup()
    assert (result.returncode, result.stdout, checkout.calls("")) == (0, "", [])
    (checkout.folder / "setup.py").write_text("# two\n")
    assert checkout.setup().returncode == 0
    assert len(checkout.calls(" -e ")) == 1


def test_failed_install_is_explained_and_completed(checkout):
    (checkout.state / "fail").touch()
    result = checkout.setup()
    assert result.returncode == 1
    assert "no route to host" in result.stderr and "run tools/setup.sh again" in result.stderr
    assert not (checkout.venv / "rnnt-ready").exists()
    (checkout.state / "fail").unlink()
    # pip was cut short: the second of these has no RECORD.
    site = checkout.venv / "lib/python3.11/site-packages"
    (site / "whole-1.dist-info").mkdir(parents=True)
    (site / "whole-1.dist-info/RECORD").touch()
    (site / "half-1.dist-info").mkdir()
    result = checkout.setup()
    assert result.returncode == 0 and "half-1 was left half installed" in result.stdout
    assert [p.name for p in site.iterdir()] == ["whole-1.dist-info"]


def test_broken_environment_is_made_again(checkout):
    checkout.venv.mkdir()
    (checkout.venv / "rubbish").touch()
    result = checkout.setup()
    assert result.returncode == 0 and "is broken" in result.stdout
    assert not (checkout.venv / "rubbish").exists() and (checkout.venv / "rnnt-ready").exists()


def test_environment_that_fails_the_check_is_not_ready(checkout):
    (checkout.state / "bad").touch()
    result = checkout.setup()
    assert result.returncode == 1 and "BAD torch missing" in result.stdout
    assert not (checkout.venv / "rnnt-ready").exists()


def test_too_little_disk(checkout):
    checkout.gigabytes(9)
    result = checkout.setup()
    assert result.returncode == 1 and "9 GB free" in result.stderr and "needs 11 GB" in result.stderr
    assert not checkout.venv.exists()


def test_no_suitable_python(checkout):
    result = checkout.setup(PYTHON="/bin/false")
    assert result.returncode == 1 and "no Python 3.10 to 3.13" in result.stderr


def test_two_at_a_time_build_once(checkout):
    (checkout.state / "slow").write_text("1.5")
    command = [str(checkout.folder / "tools/setup.sh")]
    first = subprocess.Popen(command, env=checkout.environment(), stdout=subprocess.DEVNULL)
    while not checkout.venv.exists():
        time.sleep(0.02)
    second = checkout.setup()
    assert first.wait() == 0 and second.returncode == 0
    assert "another setup.sh is at work" in second.stdout
    assert len(checkout.calls(" -e ")) == 1


def test_existing_environment_keeps_its_versions(checkout, tmp_path):
    other = tmp_path / "other"
    (other / "bin").mkdir(parents=True)
    shutil.copy(checkout.python, other / "bin/python3")
    (checkout.state / "missing").touch()
    assert checkout.setup(RNNT_VENV=str(other)).returncode == 0
    (install,) = (call for call in checkout.calls(" -e ") if "--dry-run" not in call)
    assert "-c " not in install and "torchaudio" not in install
    assert not checkout.venv.exists()


@pytest.mark.parametrize("linked", [False, True])
def test_checkouts_share_an_environment_that_has_everything(tmp_path, linked):
    first, second = (Checkout(tmp_path / name) for name in ("first", "second"))
    for checkout, text in ((first, "one"), (second, "two")):
        (checkout.folder / "setup.py").write_text(f'# {text}\n    "train.py = rnnt.train:main",\n')
    if linked:
        second.venv.symlink_to(first.venv)
    more = {} if linked else {"RNNT_VENV": str(first.venv)}
    program = first.venv / "bin/train.py"

    def installs():
        return [call for call in first.calls(" -e ") if "--dry-run" not in call]

    assert first.setup().returncode == 0 and len(installs()) == 1
    assert second.setup(**more).returncode == 0 and len(installs()) == 1  # no program there
    program.write_text(f"#!{first.python}\n")
    program.chmod(0o755)
    (second.folder / "setup.py").write_text('# three\n    "train.py = rnnt.train:main",\n')
    result = second.setup(**more)
    assert result.returncode == 0 and "has all that this checkout needs" in result.stdout
    # Each finds it ready from now on.
    assert installs() == [] and first.setup().stdout == second.setup(**more).stdout == ""
    # A package is missing.
    (first.state / "missing").touch()
    (second.folder / "setup.py").write_text('# four\n    "train.py = rnnt.train:main",\n')
    assert second.setup(**more).returncode == 0 and len(installs()) == 1
    assert first.setup().stdout == ""


def test_missing_existing_environment_and_unknown_option(checkout, tmp_path):
    result = checkout.setup(RNNT_VENV=str(tmp_path / "none"))
    assert result.returncode == 1 and "is no virtual environment" in result.stderr
    result = checkout.setup("--fast")
    assert result.returncode == 1 and "unknown option --fast" in result.stderr
    assert "Usage: tools/setup.sh" in checkout.setup("--help").stdout
