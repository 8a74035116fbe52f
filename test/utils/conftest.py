"""A fake cluster for the tests of the launchers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"
FAKE = Path(__file__).parent / "fakes" / "scheduler.py"
PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "qsub", "qstat", "qacct", "qdel")


class Cluster:
    """A folder to work in, with a scheduler on PATH."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "cluster"
        programs = folder / "bin"
        self.home.mkdir()
        programs.mkdir()
        for name in PROGRAMS:
            (programs / name).symlink_to(FAKE)
        path = f"{programs}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "FAKE_CLUSTER": str(self.home)}

    def popen(self, *arguments):
        """Start a launcher, such as `slurm.pl a.log true`."""
        return subprocess.Popen(
            [sys.executable, str(UTILS / arguments[0]), *map(str, arguments[1:])],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments):
        """Run a launcher; returns (exit status, standard error)."""
        return self.run_together(arguments)[0]

    def run_together(self, *commands):
        """Run launchers at the same time; returns what `run` does for each."""
        results = []
        for process in [self.popen(*arguments) for arguments in commands]:
            out, errors = process.communicate(timeout=60)
            assert out == ""
            results.append((process.returncode, errors))
        return results

    def calls(self, name):
        """The command lines of a program of the scheduler."""
        path = self.home / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.split()[0] == name]

    def body(self, path):
        """What a job wrote: its log without the lines of the launcher."""
        return [line for line in (self.folder / path).read_text().splitlines() if line and not line.startswith("#")]

    def program(self, name, text):
        """Put a shell program before those on PATH."""
        path = self.folder / "bin" / name
        if path.is_symlink():
            path.unlink()
        path.write_text("#!/bin/bash\n" + text)
        path.chmod(0o755)

    def program_that_meets_silence(self, name):
        """A program that ends with 3 when one question to the scheduler has stayed unanswered."""
        silent = self.home / "silent"
        self.program(name, f"echo 1 >{silent}\nuntil grep -q 0 {silent}; do sleep 0.1; done\nexit 3\n")


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


@pytest.fixture(params=["one job", "array"])
def cluster_in_job_folder(tmp_path, request):
    """A cluster whose folder is called like the range variable, and the options of one job or of an array."""
    (tmp_path / "JOB_7").mkdir()
    return Cluster(tmp_path / "JOB_7"), ["a.log"] if request.param == "one job" else ["JOB=1:2", "a.JOB.log"]
