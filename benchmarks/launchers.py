"""What the launchers add to the time of 100 jobs that do nothing.

    python benchmarks/launchers.py               run.pl JOB=1:100, and 100 processes one after the other
    python benchmarks/launchers.py --slurm       slurm.pl JOB=1:100 beside sbatch of an array of 100 `true`, on the
                                                 Slurm of this environment (test/clusters/start_slurm.sh makes one)

Prints a table: median and range of wall seconds over the repetitions, and the median of CPU seconds of all processes
started. For sbatch the time ends when squeue, asked every 0.1 s, shows no task that waits or runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

UTILS = Path(__file__).parents[1] / "utils"
JOBS = 100


def launcher(name: str, folder: str, *options: str) -> None:
    """Run the jobs by the launcher `name`."""
    command = [sys.executable, str(UTILS / name), *options, f"JOB=1:{JOBS}", "log/x.JOB.log", "true"]
    subprocess.run(command, cwd=folder, check=True)


def one_after_the_other(folder: str) -> None:
    """Run the jobs without a launcher."""
    for _ in range(JOBS):
        subprocess.run(["bash", "-c", "true"], cwd=folder, check=True)


def plain_sbatch(folder: str) -> None:
    """Submit the same array with the same output files, without a launcher, and wait for its end."""
    command = ["sbatch", "--parsable", f"--array=1-{JOBS}", "-o", "x.%a.log", "--wrap", "true"]
    job = subprocess.check_output(command, cwd=folder, text=True).strip()
    while subprocess.check_output(["squeue", "-h", "-j", job, "-t", "PD,R,CG"], text=True).strip():
        time.sleep(0.1)


def measure(name: str, function: Callable[[str], None], repetitions: int) -> None:
    """Print a row of the table."""
    wall: list[float] = []
    cpu: list[float] = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            before = os.times()
            function(folder)
            after = os.times()
            wall.append(after.elapsed - before.elapsed)
            cpu.append(sum(after[2:4]) - sum(before[2:4]))
    print(f"{name:40s} {median(wall):6.2f} {min(wall):6.2f} - {max(wall):5.2f} {median(cpu):6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slurm", action="store_true", help="measure slurm.pl instead of run.pl")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args()
    print(f"{f'{JOBS} jobs':40s} median {'range':14s}    CPU (seconds)")
    if args.slurm:
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
            conf.write("command sbatch\n")
            conf.flush()
            measure("sbatch --array", plain_sbatch, args.repetitions)
            measure("slurm.pl", lambda folder: launcher("slurm.pl", folder, "--config", conf.name), args.repetitions)
    else:
        measure("bash -c true, one after the other", one_after_the_other, args.repetitions)
        measure("run.pl", lambda folder: launcher("run.pl", folder), args.repetitions)


if __name__ == "__main__":
    main()
