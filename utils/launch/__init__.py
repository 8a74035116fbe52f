"""Run a command, or an array of them, and keep their logs: the code of run.pl, queue.pl, slurm.pl and ssh.pl.

Standard library only, Python 3.6 or newer (old clusters), and few imports: a launcher starts in less than 0.1 s. So
types are written as strings, which nothing evaluates, and `typing` is never loaded.

command_line  what the caller asked for
range_variable  where JOB of JOB=1:N stands, and where it is the name of a folder
quoting       command words to a shell command, and templates of shell text
joblog        the log file of a job and what it tells
gpus          the GPUs of this machine
local         the backend that runs jobs here: run(request, jobs) -> (outcomes, cancelled)
conf          conf/queue.conf and conf/slurm.conf: how options become options of a scheduler
scheduler     the backend of schedulers: submit, wait, report, cancel
slurm, grid_engine  what differs between schedulers
batch_script  the script that a scheduler runs
job_files     the paths of the files of such a job
ssh           the backend of hosts reached by ssh
program       what all backends share: picking jobs, reporting, exit status
"""
