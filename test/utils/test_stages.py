"""utils/stages.sh: what is done is skipped, what depends on it runs again, a job's log is shown."""

import signal
import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"

PREPARE = """#!/usr/bin/env bash
set -euo pipefail
stage=
stop_stage=9
nj=1
size=3
. {utils}/parse_options.sh
. {utils}/stages.sh
run_stage 0 first data/a sh -c 'mkdir -p data/a; echo ran 0'
skip_stage 1 second "none asked for"
run_stage 2 third data/b sh -c 'mkdir -p data/b; echo ran 2; test ! -e fail' x $size conf.yaml --nj $nj
run_stage 3 fourth data/c sh -c 'mkdir -p data/c; echo ran 3'
"""


@pytest.fixture
def prepare(tmp_path):
    (tmp_path / "conf.yaml").write_text("a: 1\n")
    script = tmp_path / "prepare.sh"
    script.write_text(PREPARE.format(utils=UTILS))

    def call(*arguments):
        """The numbers of the stages that ran, and the result."""
        result = subprocess.run(
            ["bash", str(script), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=30
        )
        return [int(x[4:]) for x in result.stdout.splitlines() if x.startswith("ran ")], result

    return call


def test_second_run_skips_and_says_so(prepare):
    ran, result = prepare()
    assert ran == [0, 2, 3] and "stage 0: first: took 0 s" in result.stdout
    assert "stage 1: second: none asked for, skipped" in result.stdout
    ran, result = prepare()
    assert ran == [] and "stage 3: fourth: done before, skipped" in result.stdout


def test_changed_options_run_the_stage_and_all_later_ones(prepare, tmp_path):
    prepare()
    assert prepare("--size", "4")[0] == [2, 3]
    assert prepare("--size", "4", "--nj", "8")[0] == []
    (tmp_path / "conf.yaml").write_text("a: 2\n")
    assert prepare("--size", "4")[0] == [2, 3]


def test_stage_options_select_and_force(prepare):
    prepare()
    assert prepare("--stage", "2")[0] == [2, 3]
    assert prepare("--stage", "0", "--stop-stage", "0")[0] == [0]
    # What comes after the stage that ran is no longer up to date.
    assert prepare()[0] == [2, 3]


def test_failed_stage_is_named_and_runs_again(prepare, tmp_path):
    (tmp_path / "fail").touch()
    ran, result = prepare()
    assert ran == [0, 2] and result.returncode == 1
    assert "stage 2: third: failed" in result.stderr and "prepare.sh again" in result.stderr
    (tmp_path / "fail").unlink()
    assert prepare()[0] == [2, 3]


def test_stages_are_numbers(prepare):
    for option in ("--stage", "--stop-stage"):
        ran, result = prepare(option, "all")
        assert (ran, result.returncode) == ([], 1) and "are numbers" in result.stderr


def test_removed_folder_is_made_again(prepare, tmp_path):
    prepare()
    (tmp_path / "data/c/.stage-3.done").unlink()
    assert prepare()[0] == [3]


FOLLOW = """set -euo pipefail
stop_stage=9
. {utils}/stages.sh
follow exp/log/a.log {command} && echo "status 0" || echo "status $?"
"""


def follow(tmp_path, command):
    script = FOLLOW.format(utils=UTILS, command=command)
    return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30).stdout


def test_log_is_shown_to_its_last_line(tmp_path):
    (tmp_path / "exp/log").mkdir(parents=True)
    (tmp_path / "exp/log/a.log").write_text("old\n")
    launcher = UTILS / "run.pl"
    out = follow(tmp_path, f"{launcher} exp/log/a.log echo one \\; sleep 1 \\; echo two")
    lines = [line for line in out.splitlines() if not line.startswith("#")]
    assert lines == ["one", "two", "status 0"] and "# Ended (code 0)" in out
    assert follow(tmp_path, f"{launcher} exp/log/a.log exit 5").endswith("status 1\n")


def test_log_of_a_job_that_outlived_its_launcher_is_kept(tmp_path):
    for name in ("exp/log/a.log", "exp/q/a.state/id"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("at work\n")
    assert follow(tmp_path, "sleep 1") == "at work\nstatus 0\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_follower_ends_its_job(tmp_path, number):
    """A signal to the script alone, as a scheduler sends it."""
    command = f"{UTILS}/run.pl exp/log/a.log echo \\$\\$ \\; exec sleep 100"
    script = FOLLOW.format(utils=UTILS, command=command)
    # A script in the foreground: SIGINT is not ignored.
    process = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.strip().isdigit():
            job = Path("/proc") / line.strip()
            break
    assert job.exists()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert "signal 15" in out and out.endswith("status 2\n")
    assert not job.exists()


def test_caller_paths(tmp_path):
    (tmp_path / "here").mkdir()
    script = f". {UTILS}/stages.sh; for p in here conf/x.yaml /abs ''; do from_caller {tmp_path} \"$p\"; done"
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [f"{tmp_path}/here", "conf/x.yaml", "/abs", ""]


def test_path_sh_names_the_command(tmp_path):
    script = f'RNNT_ROOT={tmp_path}; . {UTILS}/path.sh; echo "status $?"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert result.stdout == "status 1\n" and f"run {tmp_path}/tools/setup.sh" in result.stderr


def test_path_sh_can_be_read_twice(tmp_path):
    (tmp_path / "tools/venv/bin").mkdir(parents=True)
    (tmp_path / "tools/venv/rnnt-ready").touch()
    python = tmp_path / "tools/venv/bin/python3"
    python.touch()
    python.chmod(0o755)
    script = f'RNNT_ROOT={tmp_path}; . {UTILS}/path.sh; . {UTILS}/path.sh; echo "$PATH|$PYTHONPATH|$LC_ALL"; env'
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/other"}
    result = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, env=environment)
    expected = f"{tmp_path}/tools/venv/bin:{tmp_path}/utils:/usr/bin:/bin|{tmp_path}:/other|C.UTF-8"
    assert result.stdout.splitlines()[0] == expected
    assert "OMP_NUM_THREADS" not in result.stdout
