"""The ssh backend: jobs on a list of hosts that see the same folders, round robin, a bounded number on each."""

import base64
import contextlib
import os
import subprocess

from launch.batch_script import exports
from launch.command_line import LaunchError, positive_option
from launch.local import GRACE, Runner
from launch.quoting import shell_words, single_quoted

HOSTS_FILE = ".queue/machines"

# No question is ever answered; a host that is down or lost is noticed.
_SSH = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]

# The first line of the input is the script; the input stays open as long as somebody waits for the job.
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


def run(request, jobs):
    """Run the jobs; return `(outcomes, cancelled)`."""
    hosts = read_hosts(request.options.get("hosts_file", [HOSTS_FILE])[-1])
    places = hosts * positive_option(request, "jobs_per_host", 1)
    limit = min(len(places), positive_option(request, "max_jobs_run", len(places)))
    return _SshRunner(jobs, limit, places, positive_option(request, "num_threads", 1)).run()


def read_hosts(path):
    """Names of the hosts, one a line, as ssh takes them. Raises `LaunchError`."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.split("#")[0].strip() for line in file]
    except OSError as error:
        raise LaunchError(f"{path}: {error.strerror}; write one host a line, as ssh takes it", status=1) from None
    hosts = [line for line in lines if line]
    wrong = [host for host in hosts if host.startswith("-") or len(host.split()) != 1]
    if wrong or not hosts:
        raise LaunchError(
            f"{path}: {'no host' if not wrong else wrong[0]}: write one host a line, as user@host", status=1
        )
    return hosts


class _SshRunner(Runner):
    def spawn(self, command, place, descriptor):
        """Start a command on the host `place`."""
        text = _SCRIPT.replace("@FOLDER@", single_quoted(os.getcwd())).replace("@GRACE@", str(GRACE))
        text = text.replace("@EXPORTS@", exports()).replace("@COMMAND@", single_quoted(" ".join(shell_words(command))))
        process = subprocess.Popen(
            _SSH + [place, "exec bash -c " + single_quoted(_RECEIVER)],
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
        # Where ssh has ended at once, its exit status tells.
        with contextlib.suppress(OSError):
            process.stdin.write(base64.b64encode(os.fsencode(text)) + b"\n")
            process.stdin.flush()
        return process

    def ask_to_end(self, process):
        """The end of the input is the word for the other side."""
        with contextlib.suppress(OSError):
            process.stdin.close()

    def reason(self, code, place):
        """ssh ends with 255 where it can't reach the host."""
        return f"exit status 255: can't reach {place}, or the command's own" if code == 255 else ""
