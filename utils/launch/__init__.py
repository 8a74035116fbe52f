"""Runs a command, or an array of them, and keeps their logs: what stands behind run.pl, queue.pl, slurm.pl and ssh.pl.

Standard library only, Python 3.6 or newer (old clusters), and few imports: a launcher starts in less than 0.1 s.

command_line  what the caller asked for
quoting       command words to a shell command
joblog        the log file of a job and what can be read from it
gpus          the GPUs of this machine
local         the backend that runs jobs here: run(request, jobs) -> outcomes
conf          conf/queue.conf and conf/slurm.conf: how options become those of a scheduler
scheduler     the backend of schedulers: submit, wait, report, cancel
slurm, grid_engine  what differs among them
batch_script  the script that a scheduler runs
job_files     where the files of such a job lie
ssh           the backend of hosts reached by ssh
program       what every backend shares: picking jobs, reporting, exit status
"""
