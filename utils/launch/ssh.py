"""The ssh backend: jobs on a list of hosts that see the same folders, in turn, a bounded number on each."""

import base64
import contextlib
import os
import subprocess

from launch.batch_script import exports
from launch.command_line import Job, LaunchError, Request, positive_option
from launch.joblog import Outcome
from launch.local import GRACE, Runner
from launch.quoting import fill, shell_words, single_quoted

HOSTS_FILE = ".queue/machines"

# Never ask for a password; notice a host that is down or lost.
_SSH = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]

# The first line of the input is the script; the input stays open as long as a launcher waits for the job.
_RECEIVER = 'IFS= read -r script; eval "$(printf %s "$script" | base64 -d)"'
_SCRIPT = """\
cd @FOLDER@ || exit 1
@EXPORTS@
if [ -f ./path.sh ]; then
  . ./path.sh || exit 1
fi
echo "# Running on $(hostname)"
exec 3<&0
set -m
{ eval @COMMAND@; } </dev/null 3<&- &
job=$!
{ cat >/dev/null; kill -TERM -- "-$job"; sleep @GRACE@; kill -KILL -- "-$job"; } <&3 >/dev/null 2>&1 &
guard=$!
set +m
exec 3<&-
wait "$job"
status=$?
kill -TERM -- "-$guard" 2>/dev/null
exit $status
"""


def run(request: Request, jobs: "list[Job]") -> "tuple[list[Outcome], bool]":
    """Run the jobs and return `(outcomes, cancelled)`."""
    hosts = read_hosts(request.options.get("hosts_file", [HOSTS_FILE])[-1])
    slots = hosts * (positive_option(request, "jobs_per_host") or 1)
    limit = min(len(slots), positive_option(request, "max_jobs_run") or len(slots))
    return _SshRunner(jobs, limit, slots, positive_option(request, "num_threads") or 1).run()


def read_hosts(path: str) -> "list[str]":
    """Read the names of the hosts, one per line, as ssh takes them; raises `LaunchError`."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split("#")[0].strip() for line in file]
    except OSError as error:
        raise LaunchError(f"{path}: {error.strerror}; write one host per line, as ssh takes it", status=1) from None
    hosts = [line for line in lines if line]
    wrong = [host for host in hosts if host.startswith("-") or len(host.split()) != 1]
    if wrong or not hosts:
        raise LaunchError(
            f"{path}: {'no host' if not wrong else wrong[0]}: write one host per line, as user@host", status=1
        )
    return hosts


class _SshRunner(Runner):
    def spawn(self, command: "list[str]", slot: "str | None", descriptor: int) -> "subprocess.Popen[bytes]":
        """Start a command on the host `slot`."""
        values = {"FOLDER": single_quoted(os.getcwd()), "GRACE": str(GRACE), "EXPORTS": exports()}
        values["COMMAND"] = single_quoted(" ".join(shell_words(command)))
        text = fill(_SCRIPT, values)
        process = subprocess.Popen(
            _SSH + [str(slot), "exec bash -c " + single_quoted(_RECEIVER)],
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
        # If ssh has already ended, its exit status tells.
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.write(base64.b64encode(os.fsencode(text)) + b"\n")
            process.stdin.flush()
        return process

    def ask_to_end(self, process: "subprocess.Popen[bytes]") -> None:
        """Close the input: its end tells the other side to stop."""
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()

    def reason(self, code: int, slot: "str | None") -> str:
        """ssh ends with 255 where it can't reach the host."""
        return f"exit status 255: can't reach {slot}, or the command's own" if code == 255 else ""
