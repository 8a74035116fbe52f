#!/usr/bin/env python3
"""A scheduler of one machine for tests: sbatch, squeue, sacct, scancel, qsub, qstat, qacct and qdel in one.

The name it is called by decides. $FAKE_CLUSTER is its folder: <job>_<task> files hold "STATE WAIT-STATUS PID", `calls`
the command lines, `held` makes all jobs seem held, `silent` says how many further questions stay unanswered, `faults`
has lines "TASK STATE WAIT-STATUS": such a task is killed half a second after its start, and this is then said of it.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_CLUSTER"])
ACTIVE = ("RUNNING", "PENDING")


def write(path, text):
    path.with_name(path.name + "~").write_text(text)
    path.with_name(path.name + "~").rename(path)


def faults():
    path = HOME / "faults"
    lines = path.read_text().splitlines() if path.exists() else []
    return {int(line.split()[0]): line.split()[1:] for line in lines}


def tasks_of(job):
    """{task: [state, wait status, process id]}"""
    return {int(p.name.split("_")[1]): p.read_text().split() for p in HOME.glob(f"{job}_*") if not p.name.endswith("~")}


def start(tasks, script, output, variable):
    """Run the tasks in the background; return the number of the job."""
    job = 1
    while True:
        try:
            (HOME / f"number.{job}").touch(exist_ok=False)
            break
        except FileExistsError:
            job += 1
    for task in tasks:
        environment = {**os.environ, "SLURM_JOB_ID": str(job), "JOB_ID": str(job), "SLURMD_NODENAME": "here"}
        if variable:
            environment[variable] = str(task)
        write(HOME / f"{job}_{task}", "PENDING 0 0")
        subprocess.Popen(
            [sys.executable, __file__, "task", str(job), str(task), script, output],
            env=environment, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return job


def run_task(job, task, script, output):
    path = HOME / f"{job}_{task}"
    fault = faults().get(int(task))
    restarts = 0
    while True:
        again = {"RESTARTED": str(restarts), "SLURM_RESTART_COUNT": str(restarts)}
        with open(output, "a") as file:
            # The script waits until its state is noted: a short one may remove the note.
            process = subprocess.Popen(
                ["bash", "-c", 'read -r; exec bash "$0" </dev/null', script],
                stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True,
                env={**os.environ, **again},
            )  # fmt: skip
        write(path, f"RUNNING 0 {process.pid}")
        process.stdin.write(b"\n")
        process.stdin.close()
        if fault:
            time.sleep(0.5)
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        # Grid Engine's own meaning of this status.
        if status != 99:
            break
        restarts += 1
    raw = status << 8 if status >= 0 else -status
    state, said = (fault[0], fault[1]) if fault else ("COMPLETED" if raw == 0 else "FAILED", str(raw))
    if path.exists() and not path.read_text().startswith("CANCELLED"):
        write(path, f"{state} {said} 0")


def array(text):
    tasks = []
    for part in text.split("%")[0].split(","):
        first, _, last = part.partition("-")
        tasks += range(int(first), int(last or first) + 1)
    return tasks


def option(words, name):
    return words[words.index(name) + 1] if name in words else None


def sbatch(words):
    tasks = option(words, "--array")
    job = start(array(tasks) if tasks else [0], words[-1], option(words, "--output"), tasks and "SLURM_ARRAY_TASK_ID")
    print(f"Submitted batch job {job}")


def squeue(words):
    if "-u" in words:
        print((HOME / "listed").read_text() if (HOME / "listed").exists() else "", end="")
        return
    tasks = tasks_of(option(words, "-j"))
    if not tasks:
        sys.exit("slurm_load_jobs error: Invalid job id specified")
    for task, (state, raw, _) in tasks.items():
        state, reason = ("PENDING", "JobHeldUser") if (HOME / "held").exists() else (state, "None")
        print(f"{task or 'N/A':<20}{state:<30}{raw:<20}{reason}")


def sacct(words):
    path = HOME / f"history.{option(words, '-j')}"
    if not path.exists():
        sys.exit("Slurm accounting storage is disabled")
    print(path.read_text(), end="")


def cancel(words):
    for name in words:
        job, _, only = name.partition("_")
        for task, (state, _, pid) in tasks_of(job).items() if job.isdigit() else ():
            if (state in ACTIVE or state == "Eqw") and (not only or int(only) == task):
                write(HOME / f"{job}_{task}", f"CANCELLED 15 {pid}")
                if int(pid):
                    os.killpg(int(pid), signal.SIGTERM)


def qdel(words):
    job, tasks = words[-1], option(words, "-t")
    cancel([f"{job}_{tasks}" if tasks else job])


def qsub(words):
    tasks = option(words, "-t")
    if not tasks:
        os.environ["SGE_TASK_ID"] = "undefined"
    job = start(array(tasks) if tasks else [0], words[-1], option(words, "-o"), tasks and "SGE_TASK_ID")
    print(f'Your job{"-array" if tasks else ""} {job}{"." + tasks + ":1" if tasks else ""} ("x.sh") has been submitted')


def qstat(words):
    if "-j" in words:
        print(f"job_number: {option(words, '-j')}\nerror reason    1:          can't open the log")
        return
    print("job-ID  prior   name       user         state submit/start at     queue    slots ja-task-ID\n" + "-" * 80)
    for path in HOME.glob("*_*"):
        state = path.read_text().split()[0] if not path.name.endswith("~") else ""
        job, task = path.name.split("_")
        letters = {"RUNNING": "r", "PENDING": "qw", "Eqw": "Eqw"}.get(state)
        if letters:
            queue = "all.q@here" if letters == "r" else ""
            print(f" {job} 0.5 x.sh me {letters} 11/22/2026 03:00:00 {queue} 1 {task if task != '0' else ''}")


def qacct(words):
    job = option(words, "-j")
    ended = {task: said for task, said in tasks_of(job).items() if said[0] not in (*ACTIVE, "Eqw")}
    if not ended:
        sys.exit(f"error: job id {job} not found")
    for task, (state, raw, _) in ended.items():
        code = int(raw) >> 8 or (128 + int(raw) if int(raw) else 0)
        failed = {"COMPLETED": "0", "FAILED": "0", "CANCELLED": "100 : assumedly after job"}.get(state, f"37 : {state}")
        print("=" * 62)
        print(f"qname        all.q\njobnumber    {job}\ntaskid       {task or 'undefined'}")
        print(f"failed       {failed}\nexit_status  {code}")


PROGRAMS = {
    "sbatch": sbatch, "squeue": squeue, "sacct": sacct, "scancel": cancel, "qsub": qsub, "qstat": qstat, "qacct": qacct,
    "qdel": qdel,
}  # fmt: skip


def main():
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if words[:1] == ["task"]:
        return run_task(*words[1:])
    with open(HOME / "calls", "a") as file:
        file.write(" ".join([name, *words]) + "\n")
    silent = HOME / "silent"
    if silent.exists() and int(silent.read_text()) > 0:
        silent.write_text(str(int(silent.read_text()) - 1))
        sys.exit(f"{name}: error: Socket timed out on send/recv operation")
    PROGRAMS[name](words)


main()
