"""The script that a scheduler runs for the jobs of a request: one text for all tasks of an array."""

import os

from launch.quoting import shell_words, single_quoted

# What a command says with this exit status: my state is saved, run me again. Grid Engine's own number for it.
AGAIN = 99

# The text of the script. Its own names begin with _job_; the command's variables are its own business.
# - The command and the log's name are templates in which the shell replaces the range variable, as run.pl does.
# - The status is written by a trap on EXIT, so that every end but SIGKILL leaves it.
# - SIGUSR1 (state wanted soon) and SIGTERM are passed on to the command and its children. SIGUSR1 means nothing to a
#   program without a handler for it. After SIGTERM the shell between waits for the command and ends as it did.
# - After SIGTERM the scheduler has its own plans for the job (requeue, or the end): it tells the launcher, not we.
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
_job_log=${_job_log//@NAME@/$_job_task}
_job_log=${_job_log%$'\n'}
_job_command=${_job_command//@NAME@/$_job_task}
_job_command=${_job_command%$'\n'}

_job_date() { LC_ALL=C printf '%(%a %b %e %H:%M:%S %Z %Y)T' -1; }

_job_end() {
  _job_status=$?
  # SIGTERM for the whole job may reach the command before this shell.
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


def render(request, jobs, files, dialect):
    """The text of the script.

    `files` is the folder for the done files. `dialect` holds what differs among schedulers, as shell text: TASK and
    RESTARTS (how often the job was started again), START (`"$@"` in the background), PASS (signal $1 for it), RUN,
    AGAIN (what to do with a status of `AGAIN`) and EXIT (how to leave).
    """
    command = " ".join(shell_words(request.command))
    log = request.log
    mark = "END_OF_TEXT"
    while mark in command or mark in log:
        mark += "_"
    if len(jobs) == 1:
        # No array: the words are those of the one job.
        command, log = " ".join(shell_words(jobs[0].command)), jobs[0].log
    values = {
        "TOOL": request.tool,
        "FOLDER": single_quoted(os.getcwd()),
        "FILES": single_quoted(os.path.abspath(files)),
        "THREADS": single_quoted(request.options.get("num_threads", ["1"])[-1]),
        "NAME": request.job_name or "JOB",
        "LOG": log,
        "COMMAND": command,
        "MARK": mark,
        "EXPORTS": exports(),
    }
    values.update(dialect)
    text = _TEMPLATE
    for name in list(dialect) + ["TOOL", "FOLDER", "FILES", "THREADS", "EXPORTS", "NAME"]:
        text = text.replace(f"@{name}@", values[name])
    # The caller's own text last: it may hold anything.
    head, rest = text.split("@LOG@")
    middle, tail = rest.split("@COMMAND@")
    head, middle, tail = (part.replace("@MARK@", mark) for part in (head, middle, tail))
    return head + log + middle + command + tail


def exports():
    """Shell text that sets this toolkit's own variables as they are here: little else travels with a job."""
    ours = sorted(name for name in os.environ if name.startswith("RNNT_") and name.replace("_", "").isalnum())
    return "\n".join(f"export {name}={single_quoted(os.environ[name])}" for name in ours)
