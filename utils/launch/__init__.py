"""Runs a command, or an array of them, and keeps their logs: what stands behind run.pl.

Standard library only, Python 3.6 or newer (old clusters), and few imports: a launcher starts in less than 0.1 s.

command_line  what the caller asked for
quoting       command words to a shell command
joblog        the log file of a job and what can be read from it
gpus          the GPUs of this machine
local         the backend that runs jobs here: run(request, jobs) -> outcomes
program       what every backend shares: picking jobs, reporting, exit status
"""
