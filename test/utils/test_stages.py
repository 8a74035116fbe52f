"""utils/stages.sh: what is done is skipped, what depends on it runs again, a job's log is shown."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(UTILS.parent),
}

# A recipe that has path.sh and cmd.sh, of an environment that is ready.
PREPARE = """#!/usr/bin/env bash
# Three stages.
set -euo pipefail
. {utils}/stages.sh
begin "$@"
stage 0 first data/a sh -c 'mkdir -p data/a; echo ran 0'
skip_stage 1 second "none asked for"
stage 2 third data/b sh -c 'mkdir -p data/b; echo ran 2; test ! -e fail' x $size conf.yaml --nj $nj
stage 3 fourth data/c sh -c 'mkdir -p data/c; echo ran 3'
"""
OPTIONS = """
from dataclasses import dataclass
from rnnt.options import option

@dataclass(frozen=True)
class SizeOptions:
    size: int = option(3, "a size")

PREPARE = [SizeOptions]
"""


def make_recipe(folder, script="prepare.sh", text=PREPARE):
    """A recipe with this script; returns its path."""
    root = folder / "root"
    for name in ("utils", "local", "rnnt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(UTILS.parent / name)
    (root / "tools").mkdir()
    (root / "tools/setup.sh").write_text("#!/bin/sh\n")
    (root / "tools/setup.sh").chmod(0o755)
    (folder / "path.sh").write_text(f"export RNNT_ROOT={UTILS.parent}\n")
    (folder / "cmd.sh").write_text("train_cmd=run.pl\ndecode_cmd=run.pl\n")
    (folder / "local").mkdir()
    (folder / "local/options.py").write_text(OPTIONS)
    (folder / "conf").mkdir()
    (folder / "conf/prepare.yaml").write_text("vocab_size: 10\n")
    (folder / script).write_text(text.format(utils=root / "utils"))
    (folder / script).chmod(0o755)
    return folder / script


@pytest.fixture
def prepare(tmp_path):
    (tmp_path / "conf.yaml").write_text("a: 1\n")
    script = make_recipe(tmp_path)

    def call(*arguments):
        """The numbers of the stages that ran, and the result."""
        result = subprocess.run(
            ["bash", str(script), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env=ENVIRONMENT,
        )
        return [int(x[4:]) for x in result.stdout.splitlines() if x.startswith("ran ")], result

    return call


def test_second_run_skips_and_says_so(prepare):
    ran, result = prepare()
    assert ran == [0, 2, 3] and re.search(r"^stage 0: first: took \d s$", result.stdout, re.M)
    # Commands are shown as they can be copied.
    assert "\n  sh -c 'mkdir -p data/c; echo ran 3'\n" in result.stdout
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
    assert result.stderr.count("\n") == 1 and "fix what is reported above" in result.stderr
    (tmp_path / "fail").unlink()
    assert prepare()[0] == [2, 3]


def test_stages_are_numbers(prepare):
    for option in ("--stage", "--stop-stage"):
        ran, result = prepare(option, "all")
        assert (ran, result.returncode) == ([], 1)
        assert result.stderr.startswith(f"prepare.sh: argument {option}: expected int, got 'all'")


def test_removed_folder_is_made_again(prepare, tmp_path):
    prepare()
    (tmp_path / "data/c/.stage-3.done").unlink()
    assert prepare()[0] == [3]


TRAIN = """#!/usr/bin/env bash
# Trains.
set -euo pipefail
. {utils}/stages.sh
begin "$@"
stage 1 training "" --log exp/log/a.log COMMAND
echo done
"""


def train(tmp_path, command):
    """The process of a run.sh whose training is this command."""
    script = make_recipe(tmp_path, "run.sh", TRAIN.replace("COMMAND", command))
    return subprocess.Popen(
        ["bash", str(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    )


def test_log_of_a_job_is_shown(tmp_path):
    (tmp_path / "exp/log").mkdir(parents=True)
    (tmp_path / "exp/log/a.log").write_text("old\n")
    out, errors = train(tmp_path, f"{UTILS}/run.pl exp/log/a.log echo one \\; echo two").communicate(timeout=60)
    lines = [line for line in out.splitlines() if not line.startswith(("#", " "))]
    assert lines[:3] == ["run.sh: stage 1: training", "one", "two"] and lines[4:] == ["done"], errors
    assert lines[3].startswith("run.sh: stage 1: training: took ")


def test_failed_job_ends_the_script(tmp_path):
    process = train(tmp_path, f"{UTILS}/run.pl exp/log/a.log exit 5")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "done" not in out
    assert "run.sh: stage 1: training: failed" in errors and "call run.sh again" in errors


@pytest.mark.parametrize("whom", ["script", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_script_ends_its_job(tmp_path, number, whom):
    """A signal to the script alone, as a scheduler sends it, or to its process group, as Ctrl-C does."""
    process = train(tmp_path, f"{UTILS}/run.pl exp/log/a.log echo \\$\\$ \\; exec sleep 100")
    for line in process.stdout:
        if line.strip().isdigit():
            job = Path("/proc") / line.strip()
            break
    assert job.exists()
    (process.send_signal if whom == "script" else lambda n: os.killpg(process.pid, n))(number)
    out, errors = process.communicate(timeout=30)
    if (whom, number) != ("group", signal.SIGTERM):  # which ends the runner and the script at once
        assert "signal 15" in out and process.returncode == 130
        assert "run.sh: stage 1: training: interrupted after" in errors and "the same command continues" in errors
    assert not job.exists()


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
