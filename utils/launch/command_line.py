"""The command line that all launchers share: X.pl [options] [JOB=1:N] log-file command..."""

import re
import sys
from collections import namedtuple

from launch.range_variable import is_forgotten, stands_in, substitute

# tool: str; options: {name: [values]}, names with underscores; native: options with one dash, a list of words as typed,
# which go to the scheduler; job_name, first, last: the job range, or None, 0, 0; log: str; command: list of words
Request = namedtuple("Request", "tool options native job_name first last log command")
# One job of the array. id: int, None where there is no range; log: str; command: list of words
Job = namedtuple("Job", "id log command")

_RANGE = re.compile(r"([A-Za-z_]\w*)=([0-9]+)(?::([0-9]+))?$")

USAGE = """Usage: {tool} [options] [JOB=1:N] <log-file> <command> [arguments...]

Runs the command with its output in the log file; with JOB=1:N, N times, where JOB in the log's name and in the
command becomes 1 ... N. Exit status: 0 if all jobs succeeded, 1 if one failed, 2 if interrupted, 255 for bad usage.

Options (--foo-bar and --foo_bar are the same):
  --max-jobs-run N, -tc N      at most N jobs at a time
  --num-threads N              threads of a job; noted in the log
  --gpu N                      GPUs of a job
  --pick all|failed|incomplete which jobs to run, by the logs of the last time: all (default), those that failed
                               or were cut short, or also those never started
  --mem 4G, --time 4:0:0, ...  for the scheduler, as the configuration says; run.pl ignores them
  -q NAME, -pe NAME N, ...     one dash: for the scheduler, as it is
  --config FILE                configuration (default: conf/queue.conf or conf/slurm.conf, else built in)
  --requeue true               queue.pl, slurm.pl: a job that was preempted, or that ends with status 99 (state saved,
                               run me again), goes back into the queue
  --patience SECONDS           wait this long for files that a slow file system shows late (default: 30)
  --num-nodes N                slurm.pl: one process per GPU (or one per node) on N nodes
  --hosts-file FILE            ssh.pl: names of the hosts (default: .queue/machines)
  --jobs-per-host N            ssh.pl: jobs on one host at a time (default: 1)
A word without spaces reaches the shell as typed, so that \\| \\> \\; are operators; a word with spaces stays one word.
"""


class LaunchError(Exception):
    """A request that can't be carried out; `status` is the exit status."""

    def __init__(self, message: str, status: int = 255) -> None:
        super().__init__(message)
        self.status = status


class UsageError(LaunchError):
    """Too little on the command line; the message is the complete usage."""


def _pop_option(words: "list[str]") -> "tuple[str, list[str]]":
    """Take one option off `words` and return `(name, values)`. The name of a native option keeps its dash."""
    switch = words.pop(0)
    if switch == "-V":
        return switch, []
    if switch.startswith("--") and "=" in switch:
        name, value = switch[2:].split("=", 1)
        return name.replace("-", "_"), [value]
    number = 2 if switch == "-pe" else 1
    if len(words) < number:
        raise LaunchError("option {} needs {}".format(switch, "a value" if number == 1 else "two values: -pe smp 4"))
    values = [words.pop(0) for _ in range(number)]
    if values[0].startswith("--"):
        print(f"warning: suspicious value of option {switch}: {values[0]}", file=sys.stderr)
    if switch in ("-tc", "-sync"):
        return {"-tc": "max_jobs_run", "-sync": "sync"}[switch], values
    return (switch[2:].replace("-", "_") if switch.startswith("--") else switch), values


def parse(tool: str, argv: "list[str]") -> Request:
    """Read the command line of a launcher; raises `LaunchError`."""
    words = list(argv)
    options, native = {}, []  # type: dict[str, list[str]], list[str]
    job_name = None  # type: str | None
    first = last = 0
    while words:
        match = _RANGE.match(words[0])
        if words[0].startswith("-") and len(words[0]) > 1:
            name, values = _pop_option(words)
            if name.startswith("-"):
                native += [name] + values
            else:
                options.setdefault(name, []).extend(values)
        elif match and job_name is None:
            word = words.pop(0)
            job_name, first, last = match.group(1), int(match.group(2)), int(match.group(3) or match.group(2))
            if not 1 <= first <= last:
                raise LaunchError(f"invalid job range {word}: it must be {job_name}=A:B with 1 <= A <= B")
        else:
            break
    if len(words) < 2:
        raise UsageError(USAGE.format(tool=tool).rstrip(), status=1)
    log, command = words[0], words[1:]
    if job_name is None and is_forgotten(log, "JOB"):
        raise LaunchError(f"the log file {log} contains JOB: you forgot JOB=1:$nj", status=1)
    if job_name is not None and last > first and not stands_in(log, job_name):
        number = last - first + 1
        raise LaunchError(f"{number} jobs would share the log file {log}: put {job_name} into its name", status=1)
    return Request(tool, options, native, job_name, first, last, log, command)


def jobs_of(request: Request) -> "list[Job]":
    """The jobs of a request, with the range variable replaced in the log's name and in every word."""
    if request.job_name is None:
        return [Job(None, request.log, request.command)]
    name = request.job_name
    return [
        Job(i, substitute(request.log, name, str(i)), [substitute(word, name, str(i)) for word in request.command])
        for i in range(request.first, request.last + 1)
    ]


def positive_option(request: Request, name: str) -> "int | None":
    """The smallest of the values given for an integer option > 0, or None."""
    values = request.options.get(name)
    if not values:
        return None
    if not all(re.match(r"[0-9]{1,9}$", value) and int(value) > 0 for value in values):
        raise LaunchError("--{} must be a number > 0, got {}".format(name.replace("_", "-"), " ".join(values)))
    return min(int(value) for value in values)


def flag(request: Request, name: str) -> bool:
    """The value of an option that is true or false; false where it is not given."""
    value = request.options.get(name, ["false"])[-1]
    if value not in ("true", "false"):
        raise LaunchError("--{} must be true or false, got {}".format(name.replace("_", "-"), value))
    return value == "true"
