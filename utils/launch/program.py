"""What all launchers share around their backend: which jobs run, what is reported, the exit status."""

import sys

from launch import joblog
from launch.command_line import Job, LaunchError, Request, UsageError, jobs_of, parse
from launch.joblog import Outcome
from launch.range_variable import substitute

# Only type checkers read what follows `if TYPE_CHECKING:`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Failed jobs whose last lines are shown, and how many lines.
_SHOWN_JOBS = 3
_SHOWN_LINES = 8

_PICK = {
    "all": ("absent", "running", "done", "failed"),
    "failed": ("running", "failed"),
    "incomplete": ("absent", "running", "failed"),
}


def _picked(request: Request) -> "list[Job]":
    """The jobs that `--pick` leaves, by the state of their logs."""
    pick = request.options.get("pick", ["all"])[-1]
    if pick not in _PICK:
        raise LaunchError("--pick must be one of {}, got {}".format(", ".join(_PICK), pick))
    jobs = jobs_of(request)
    return jobs if pick == "all" else [job for job in jobs if joblog.state(job.log) in _PICK[pick]]


def _report(request: Request, failed: "list[Outcome]", number: int) -> None:
    """Write the line that tools expect, then the end of the first failed logs."""
    if number == 1:
        text = f"{request.tool}: job failed, log is in {failed[0].job.log}\n"
    else:
        pattern = substitute(request.log, request.job_name, "*")
        text = f"{request.tool}: {len(failed)} / {number} failed, log is in {pattern}\n"
    for outcome in failed[:_SHOWN_JOBS]:
        text += f"  {outcome.job.log}: {joblog.describe(outcome)}\n"
        text += "".join(f"    | {line}\n" for line in joblog.last_lines(outcome.job.log, _SHOWN_LINES))
    if len(failed) > _SHOWN_JOBS:
        text += f"  and {len(failed) - _SHOWN_JOBS} more; --pick failed runs the failed ones again\n"
    sys.stderr.write(text)


def main(tool: str, backend: "Callable[[Request, list[Job]], tuple[list[Outcome], bool]]", argv: "list[str]") -> int:
    """Run what the command line asks for; return the exit status (0, 1, 2 interrupted, 255 bad usage)."""
    try:
        request = parse(tool, argv)
        jobs = _picked(request)
        outcomes, cancelled = backend(request, jobs)
    except UsageError as error:
        print(error, file=sys.stderr)
        return error.status
    except LaunchError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return 1
    if cancelled:
        log = substitute(request.log, request.job_name, "*") if request.job_name else request.log
        print(f"{tool}: interrupted, log is in {log}", file=sys.stderr)
        return 2
    failed = [outcome for outcome in outcomes if outcome.code != 0]
    if failed:
        _report(request, failed, len(jobs))
        return 1
    return 0
