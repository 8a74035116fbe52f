"""The script that a scheduler runs for the jobs of a request: the same for all tasks of an array."""

import os

from launch.command_line import Job, Request
from launch.quoting import fill, shell_words, single_quoted
from launch.range_variable import substitute

# A command with this exit status has saved its state and is to be run again. The number is Grid Engine's.
AGAIN = 99

# Variables of the script begin with _job_, so that the command may use all others.
# - In the command and the log's name of an array the shell puts the number of the task, where run.pl does.
# - A trap on EXIT writes the status, after every end but SIGKILL.
# - SIGUSR1 (save your state soon) and SIGTERM are passed on to the command and its children. A program without a
#   handler for SIGUSR1 ignores it. After SIGTERM the shell in between waits for the command and ends as it did.
# - After SIGTERM the scheduler decides about the job (requeue or end) and tells the launcher: no status is written.
_TEMPLATE = r"""#!/bin/bash
# A job of @TOOL@
_job_folder=@FOLDER@
_job_files=@FILES@
_job_threads=@THREADS@
_job_task=@TASK@
_job_restarts=@RESTARTS@
_job_terminated=
IFS= read -r -d '' _job_log <<'@MARK@'
@LOG@
@MARK@
IFS= read -r -d '' _job_command <<'@MARK@'
@COMMAND@
@MARK@
_job_log=${_job_log//@NUMBER@/$_job_task}
_job_log=${_job_log%$'\n'}
_job_command=${_job_command//@NUMBER@/$_job_task}
_job_command=${_job_command%$'\n'}

_job_date() { LC_ALL=C printf '%(%a %b %e %H:%M:%S %Z %Y)T' -1; }

_job_end() {
  _job_status=$?
  # SIGTERM for all of the job may reach the command before this shell.
  [ $_job_status -ne 143 ] || [ -n "$_job_terminated" ] || sleep 1
  trap '' TERM USR1
  if [ -n "$_job_terminated" ] && [ $_job_status -ne 0 ]; then
    echo "# Stopped by SIGTERM at $(_job_date), status $_job_status"
    @EXIT@
  fi
@AGAIN@
  echo "# Accounting: time=$SECONDS threads=$_job_threads"
  echo "# Finished at $(_job_date) with status $_job_status"
  echo "$_job_status" >"$_job_files/.done.${_job_task:-0}" &&
    mv "$_job_files/.done.${_job_task:-0}" "$_job_files/done.${_job_task:-0}"
@EXIT@
}

_job_run() {
  trap '' USR1
  trap '_job_s=$?; [ $_job_s -ne 0 ] || _job_s=143; exit $_job_s' TERM
  eval "$_job_command"
}

_job_pass() {
  _job_signalled=1
  [ "$1" = USR1 ] || _job_terminated=1
@PASS@
}

_job_watch() {
  trap '_job_pass USR1' USR1
  trap '_job_pass TERM' TERM
@START@
  _job_signalled=1
  while [ -n "$_job_signalled" ]; do
    _job_signalled=
    wait "$_job_pid"
    _job_status=$?
  done
  return $_job_status
}

trap _job_end EXIT
trap '' USR1
cd "$_job_folder" || exit 1
[[ $_job_log != */* || -d ${_job_log%/*} ]] || mkdir -p "${_job_log%/*}"
exec >>"$_job_log" 2>&1 </dev/null || exit 1
echo "# Running on $(hostname)"
echo "# Started at $(_job_date)"
echo "# ${_job_command//$'\n'/$'\n# '}"
[ "$_job_restarts" -eq 0 ] || echo "# Restart $_job_restarts"
export HOME=${HOME:-$(echo ~)}
@EXPORTS@
if [ -f ./path.sh ]; then
  . ./path.sh || exit 1
fi
@RUN@
"""


def render(request: Request, jobs: "list[Job]", files: str, dialect: "dict[str, str]") -> str:
    """Make the text of the script.

    Args:
        request: what the caller asked for.
        jobs: those of its jobs that are to run.
        files: folder for the done files.
        dialect: what differs between schedulers, as shell text: TASK, RESTARTS (how often the job was started again),
            START (`"$@"` in the background), PASS (signal $1 for it), RUN, AGAIN (what to do with a status of
            `AGAIN`) and EXIT (how to leave).
    """
    array = len(jobs) > 1 and request.job_name
    job = Job(None, request.log, request.command) if array else jobs[0]
    command, log = " ".join(shell_words(job.command)), job.log
    # Neither may stand in the texts: not the line that ends them, nor what the shell replaces by the number of a task.
    mark, number = "END_OF_TEXT", "NUMBER_OF_TASK"
    while mark in command or mark in log:
        mark += "_"
    while number in command or number in log:
        number += "_"
    if array:
        command, log = (substitute(text, request.job_name, number) for text in (command, log))
    values = {
        "TOOL": request.tool,
        "FOLDER": single_quoted(os.getcwd()),
        "FILES": single_quoted(os.path.abspath(files)),
        "THREADS": single_quoted(request.options.get("num_threads", ["1"])[-1]),
        "NUMBER": number,
        "LOG": log,
        "COMMAND": command,
        "MARK": mark,
        "EXPORTS": exports(),
    }
    values.update(dialect)
    return fill(_TEMPLATE, values)


def exports() -> str:
    """Shell text that sets the variables RNNT_* as they are here: little else travels with a job."""
    names = sorted(name for name in os.environ if name.startswith("RNNT_") and name.replace("_", "").isalnum())
    return "\n".join(f"export {name}={single_quoted(os.environ[name])}" for name in names)
