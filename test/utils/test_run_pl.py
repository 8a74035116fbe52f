"""utils/run.pl: the contract of Kaldi's launchers."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN_PL = Path(__file__).parents[2] / "utils" / "run.pl"


@pytest.fixture
def run(tmp_path):
    def call(*arguments, **keywords):
        return subprocess.run(
            [sys.executable, str(RUN_PL), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            **keywords,
        )

    return call


def body(path):
    """What the job wrote: the log without the lines of the launcher."""
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_log_has_the_lines_that_tools_look_for(run, tmp_path):
    result = run("log/a.log", "echo", "hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = (tmp_path / "log/a.log").read_text().splitlines()
    assert lines[0] == "# echo hello"
    assert re.fullmatch(r"# Started at \w{3} \w{3} .* \d{4}", lines[1])
    assert lines[2:4] == ["#", "hello"]
    assert re.fullmatch(r"# Accounting: time=\d+ threads=1", lines[4])
    assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", lines[5])


def test_words_pass_as_kaldi_scripts_expect(run, tmp_path):
    both = 'it\'s "quoted" text'
    run("a.log", "printf", r"%s\\n", "a  b", "$X y", "", '"x" $X z', both, "it's", env={**os.environ, "X": "7"})
    assert body(tmp_path / "a.log") == ["a  b", "7 y", "", '"x" $X z', both, "it's"]


def test_escaped_operators_reach_the_shell(run, tmp_path):
    run("a.log", "echo", "b", "|", "tr", "b", "c", ";", "echo", "d", ">", "file")
    assert body(tmp_path / "a.log") == ["c"]
    assert (tmp_path / "file").read_text() == "d\n"


def test_command_longer_than_one_argument_may_be(run, tmp_path):
    words = [f"word{i:05d}" for i in range(20000)]
    assert run("a.log", "echo", *words, "|", "wc", "-w").returncode == 0
    assert body(tmp_path / "a.log") == ["20000"]


def test_folders_above_that_are_called_like_the_variable_keep_their_names(tmp_path):
    """The working directory, the checkout and others that the caller did not choose; their neighbours are variable."""
    place = tmp_path / "JOBS" / "my-JOB" / "recipe"
    root = tmp_path / "JOB_root"
    for folder in (place, root):
        folder.mkdir(parents=True)

    def run(*words):
        command = [sys.executable, str(RUN_PL), *map(str, words)]
        environment = {**os.environ, "RNNT_ROOT": str(root)}
        return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=60)

    words = [f"--out={place}/x.JOB", place.parent, f"{tmp_path}/JOBS", f"{tmp_path}/JOB.1", f"{root}/a.py", "split/JOB"]
    done = run("JOB=3:4", f"{place}/log/a.JOB.log", "printf", r"%s\\n", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert body(place / "log/a.4.log") == [
        f"--out={place}/x.4", str(place.parent), f"{tmp_path}/JOBS", f"{tmp_path}/4.1", f"{root}/a.py", "split/4",
    ]  # fmt: skip
    done = run("JOB=1:2", f"{place}/log/a.log", "true")
    assert done.returncode == 1 and "2 jobs would share the log file" in done.stderr
    assert run(f"{place}/log/b.log", "true").returncode == 0
    assert run(f"{root}/log/b.log", "true").returncode == 0 and (root / "log/b.log").exists()
    done = run("JOB=1:2", f"{place}/log/c.JOB.log", "false")
    assert f"2 / 2 failed, log is in {place}/log/c.*.log" in done.stderr


@pytest.mark.parametrize("log", ["log/a.JOB.log", "split/JOB/a.log"])
def test_a_forgotten_range_is_noticed(run, log):
    done = run(log, "true")
    assert done.returncode == 1 and "you forgot JOB=1:$nj" in done.stderr


def test_array_replaces_its_variable_everywhere(run, tmp_path):
    result = run("--mem", "4G", "JOB=2:4", "--max-jobs-run", "2", "d.JOB/x.JOB.log", "echo", "in.JOB", "JOB")
    assert result.returncode == 0
    assert [body(tmp_path / f"d.{i}/x.{i}.log") for i in (2, 3, 4)] == [[f"in.{i} {i}"] for i in (2, 3, 4)]


def test_failed_job_shows_the_end_of_its_log(run):
    result = run("a.log", "echo", "the reason", ";", "exit", "3")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "run.pl: job failed, log is in a.log"
    assert "exit status 3" in result.stderr and "the reason" in result.stderr


def test_failed_tasks_are_counted_and_alone_run_again(run, tmp_path):
    result = run("JOB=1:4", "x.JOB.log", "test", "JOB", "!=", "2")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "run.pl: 1 / 4 failed, log is in x.*.log"
    assert "x.2.log" in result.stderr
    assert run("--pick", "failed", "JOB=1:5", "x.JOB.log", "echo", "again").returncode == 0
    assert [body(tmp_path / f"x.{i}.log") for i in (1, 2)] == [[], ["again"]]
    assert not (tmp_path / "x.5.log").exists()
    assert run("--pick", "incomplete", "JOB=1:5", "x.JOB.log", "echo", "first").returncode == 0
    assert body(tmp_path / "x.5.log") == ["first"] and body(tmp_path / "x.2.log") == ["again"]


def test_signal_is_named(run, tmp_path):
    result = run("a.log", "kill", "-9", "$$")
    assert result.returncode == 1 and "SIGKILL" in result.stderr
    assert "# Ended (code 137; signal 9) at" in (tmp_path / "a.log").read_text()


@pytest.mark.parametrize(
    "arguments, status, part",
    [
        ([], 1, "Usage: run.pl"),
        (["a.log"], 1, "Usage: run.pl"),
        (["JOB=0:2", "a.JOB.log", "true"], 255, "1 <= A <= B"),
        (["JOB=3:2", "a.JOB.log", "true"], 255, "1 <= A <= B"),
        (["JOB=1:2", "a.log", "true"], 1, "put JOB into its name"),
        (["a.JOB.log", "true"], 1, "you forgot JOB=1:$nj"),
        (["--max-jobs-run", "0", "a.log", "true"], 255, "--max-jobs-run must be a number > 0"),
        (["--pick", "some", "a.log", "true"], 255, "--pick must be one of"),
        (["/proc/no/a.log", "true"], 1, "/proc/no"),
    ],
)
def test_bad_use(run, arguments, status, part):
    result = run(*arguments)
    assert result.returncode == status
    assert part in result.stderr and "Traceback" not in result.stderr


def test_job_range_of_one_number_and_options_of_schedulers(run, tmp_path):
    arguments = ["-V", "-pe", "smp", "4", "-sync", "y", "--num-threads", "3", "-l", "x=1", "N=3", "a.N.log"]
    assert run(*arguments, "echo", "N").returncode == 0
    assert body(tmp_path / "a.3.log") == ["3"]
    assert "threads=3" in (tmp_path / "a.3.log").read_text()


def test_at_most_so_many_jobs_at_a_time(run, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text("mkdir run.$1; all=(run.*); echo ${#all[@]}; sleep 0.2; rmdir run.$1\n")
    # The smallest value given counts.
    assert run("--max-jobs-run", 5, "-tc", 2, "JOB=1:6", "x.JOB.log", "bash", script, "JOB").returncode == 0
    assert max(int(body(tmp_path / f"x.{i}.log")[0]) for i in range(1, 7)) <= 2


def test_gpus_are_shared_out(run, tmp_path):
    fake = tmp_path / "bin" / "nvidia-smi"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    fake.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment["PATH"] = f"{fake.parent}:{environment['PATH']}"
    job = ["JOB=1:2", "x.JOB.log", "echo", "$CUDA_VISIBLE_DEVICES", ";", "sleep", "0.3"]
    assert run("--gpu", 1, *job, env=environment).returncode == 0
    assert sorted(body(tmp_path / f"x.{i}.log")[0] for i in (1, 2)) == ["0", "1"]
    assert run("--gpu", 3, *job, env=environment).returncode == 1
    fake.write_text("#!/bin/sh\nexit 9\n")
    result = run("--gpu", 1, *job, env=environment)
    assert result.returncode == 0 and "no GPU found" in result.stderr


def alive(pid):
    """Whether a process still runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_jobs_and_their_children(tmp_path, number):
    (tmp_path / "job.sh").write_text("sleep 100 & echo $! > pid.$1; wait; true\n")
    launcher = subprocess.Popen(
        [sys.executable, str(RUN_PL), "--max-jobs-run", "2", "JOB=1:3", "x.JOB.log", "bash", "job.sh", "JOB"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # As in the background of a script, where Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    files = [tmp_path / f"pid.{i}" for i in (1, 2)]
    deadline = time.monotonic() + 20
    while not all(f.exists() and f.read_text().strip() for f in files):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.send_signal(number)
    _, errors = launcher.communicate(timeout=20)
    assert launcher.returncode == 2 and "interrupted" in errors
    assert not any(alive(f.read_text().strip()) for f in files)
    assert "signal 15" in (tmp_path / "x.1.log").read_text()
    assert not (tmp_path / "x.3.log").exists()


def test_two_signals_at_once_leave_the_job_its_time(tmp_path):
    """Ctrl-C reaches the launcher from the terminal, and as TERM from the script that runs it."""
    (tmp_path / "job.sh").write_text("trap 'sleep 0.5; touch saved; exit 3' TERM; touch ready; sleep 100 & wait\n")
    command = [sys.executable, str(RUN_PL), "a.log", "bash", "job.sh"]
    launcher = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    launcher.send_signal(signal.SIGINT)
    time.sleep(0.1)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=20) == 2
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.12", "3.13"])
def test_runs_on_other_pythons(tmp_path, version):
    pyenv = sorted((Path.home() / ".pyenv/versions").glob(version + ".*/bin/python3"))
    candidates = [c for c in (shutil.which("python" + version), *map(str, pyenv)) if c]
    # A program of that name may be a shim that does not run.
    working = [c for c in candidates if subprocess.run([c, "-c", ""], capture_output=True).returncode == 0]
    if not working:
        pytest.skip(f"no Python {version} here")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONPATH", None)
    command = [working[0], str(RUN_PL), "JOB=1:2", "x.JOB.log", "test", "JOB", "=", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("run.pl: 1 / 2 failed, log is in x.*.log\n")


def test_start_loads_little():
    modules = "launch.program, launch.local, launch.slurm, launch.grid_engine, launch.ssh"
    code = f"import sys; sys.path.insert(0, {str(RUN_PL.parent)!r}); import {modules}"
    listing = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    ).stderr
    loaded = {line.rsplit("|", 1)[1].strip() for line in listing.splitlines()}
    assert not loaded & {"argparse", "logging", "shutil", "tempfile", "typing", "json", "asyncio", "dataclasses"}
