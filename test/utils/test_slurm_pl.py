"""utils/slurm.pl on a fake cluster, and the faults that are hard to cause on a real one."""

import shutil
import signal
import time

import pytest


def test_log_has_the_lines_that_tools_look_for(cluster):
    assert cluster.run("slurm.pl", "exp/log/a.log", "echo", "hello") == (0, "")
    lines = (cluster.folder / "exp/log/a.log").read_text().splitlines()
    starts = ["# Running on ", "# Started at ", "# echo hello", "hello", "# Accounting: time=", "# Finished at "]
    assert all(line.startswith(start) for line, start in zip(lines, starts))
    assert lines[4].endswith(" threads=1") and lines[5].endswith(" with status 0")
    # The script is kept for a look; what was needed to wait is not.
    assert sorted(p.name for p in (cluster.folder / "exp/q").iterdir()) == ["a.log", "a.sh"]


def test_words_pass_as_run_pl_passes_them(cluster):
    both = 'it\'s "quoted" JOB'
    words = ["printf", r"%s\\n", "a  b", "$X y", "", '"x" $X z', both, "it's", ";", "echo", "b", "|", "tr", "b", "c"]
    cluster.environment["RNNT_X"] = "kept 'as' it is @LOG@"
    options = ["--num-threads", "2", "JOB=2:3", "x.JOB.log"]
    assert cluster.run("slurm.pl", *options, "X=7", ";", *words, ";", "echo", "$RNNT_X") == (0, "")
    expected = ["a  b", "7 y", "", '"x" $X z', 'it\'s "quoted" 3', "it's", "c", "kept 'as' it is @LOG@"]
    assert cluster.body("x.3.log") == [line for line in expected if line]
    assert "threads=2" in (cluster.folder / "x.3.log").read_text()


def test_path_sh_is_read_and_its_failure_is_the_jobs(cluster):
    (cluster.folder / "path.sh").write_text("export Y=5\n")
    assert cluster.run("slurm.pl", "a.log", "echo", "$Y")[0] == 0
    assert cluster.body("a.log") == ["5"]
    (cluster.folder / "path.sh").write_text("echo no environment; return 1\n")
    status, errors = cluster.run("slurm.pl", "a.log", "echo", "$Y")
    assert status == 1 and "no environment" in errors


def test_folders_that_are_called_like_the_variable_keep_their_names(cluster_in_job_folder):
    cluster, (*array, log) = cluster_in_job_folder
    words = [f"--out={cluster.folder}/JOB", "/data/JOBS/x", f"{cluster.folder}/NUMBER_OF_TASK"]
    assert cluster.run("slurm.pl", *array, f"{cluster.folder}/log/{log}", "echo", *words) == (0, "")
    expected = [f"--out={cluster.folder}/2", "/data/2S/x"] if array else words[:2]
    assert cluster.body(f"log/{log.replace('JOB', '2')}") == [" ".join([*expected, words[2]])]
    assert {path.name for path in (cluster.folder / "q").iterdir()} == {"a.sh", "a.log"}


def test_options_reach_sbatch(cluster):
    (cluster.folder / "conf").mkdir()
    text = "command sbatch --export=PATH\noption mem=* --mem $0\noption image=* srun --container-image=$0\n"
    (cluster.folder / "conf/slurm.conf").write_text(text)
    assert (
        cluster.run("slurm.pl", "--mem", "4G", "--max-jobs-run", 2, "-q", "x", "JOB=1:3", "a.JOB.log", "true")[0] == 0
    )
    (call,) = cluster.calls("sbatch")
    assert call.startswith("sbatch --export=PATH --mem 4G -q x ") and " --array 1-3%2 " in call
    assert "--requeue" not in call and "srun" not in call
    cluster.program(
        "srun",
        'echo "srun $*"; while [ "$1" != bash ]; do shift; done; SLURM_NTASKS=2 SLURM_PROCID=0 SLURM_LOCALID=0 "$@"\n',
    )
    cluster.program("scontrol", "echo '   NodeAddr=10.0.0.7 NodeHostName=x'\n")
    options = ["--num-nodes", 2, "--requeue", "true", "--image", "a b.sqsh"]
    assert cluster.run("slurm.pl", *options, "b.log", "echo", "$MASTER_ADDR", "$MASTER_PORT", "$RANK/$WORLD_SIZE") == (
        0,
        "",
    )
    call = cluster.calls("sbatch")[-1]
    assert "--nodes 2 --ntasks-per-node=1 --requeue --signal=B:USR1@60" in call and "--container" not in call
    step, said = cluster.body("b.log")
    assert "--nodes 2 --ntasks-per-node=1 --container-image=a b.sqsh" in step
    address, port, rank = said.split()
    assert address == "10.0.0.7" and 1024 <= int(port) < 65536 and rank == "0/2"


def test_failed_tasks_are_counted_and_alone_run_again(cluster):
    status, errors = cluster.run("slurm.pl", "JOB=1:6", "x.JOB.log", "echo", "because", ";", "exit", "$((JOB%3?0:7))")
    assert status == 1 and errors.splitlines()[0] == "slurm.pl: 2 / 6 failed, log is in x.*.log"
    assert "x.3.log: exit status 7" in errors and "    | because" in errors
    assert cluster.run("slurm.pl", "--pick", "failed", "JOB=1:8", "x.JOB.log", "echo", "again") == (0, "")
    assert " --array 3,6 " in cluster.calls("sbatch")[-1]
    assert [cluster.body(f"x.{i}.log") for i in (2, 3)] == [["because"], ["again"]]
    assert cluster.run("slurm.pl", "--pick", "incomplete", "JOB=1:8", "x.JOB.log", "true")[0] == 0
    assert " --array 7-8 " in cluster.calls("sbatch")[-1]
    assert cluster.run("slurm.pl", "--pick", "incomplete", "JOB=1:8", "x.JOB.log", "true")[0] == 0
    assert len(cluster.calls("sbatch")) == 3


KILLED = {
    2: ("OUT_OF_MEMORY", 125, "(OUT_OF_MEMORY: more memory than asked for (--mem))"),
    3: ("TIMEOUT", 15, "(TIMEOUT: the time limit is over (--time))"),
    4: ("CANCELLED", 15, "(CANCELLED: cancelled)"),
    5: ("NODE_FAIL", 0, "(NODE_FAIL: the node was lost)"),
    6: ("PREEMPTED", 0, "(PREEMPTED: preempted)"),
    7: ("FAILED", 9, "with status 137"),
}


def test_killed_tasks_are_reported_by_name(cluster):
    (cluster.home / "faults").write_text("".join(f"{task} {v[0]} {v[1]}\n" for task, v in KILLED.items()))
    options = ["--patience", 1, "JOB=1:7", "x.JOB.log"]
    status, errors = cluster.run(
        "slurm.pl", *options, "echo", "at work", ";", "[", "JOB", "=", 1, "]", "||", "sleep", 30
    )
    assert status == 1 and errors.splitlines()[0] == "slurm.pl: 6 / 7 failed, log is in x.*.log"
    assert "  x.2.log: OUT_OF_MEMORY: more memory than asked for (--mem)\n    | at work" in errors
    for task, (_, _, part) in KILLED.items():
        last = (cluster.folder / f"x.{task}.log").read_text().splitlines()[-1]
        assert last.startswith("# Finished at ") and last.endswith(part)
    (cluster.home / "faults").unlink()
    assert cluster.run("slurm.pl", "--pick", "failed", "JOB=1:7", "x.JOB.log", "true") == (0, "")
    assert " --array 2-7 " in cluster.calls("sbatch")[-1]


def test_silent_scheduler_is_waited_for(cluster):
    cluster.program_that_meets_silence("job")
    status, errors = cluster.run("slurm.pl", "a.log", "job")
    assert status == 1 and "exit status 3" in errors and "timed out" not in errors


def test_step_that_ends_well_after_sigterm_is_not_believed(cluster):
    """srun does so when a node of its job is lost."""
    cluster.program("srun", "touch started; sleep 1; exit 0\n")
    cluster.program("scontrol", "")
    launcher = cluster.popen("slurm.pl", "--patience", 1, "--num-nodes", 2, "a.log", "true")
    while not (cluster.folder / "started").exists():
        time.sleep(0.05)
    assert cluster.popen(cluster.folder / "bin" / "scancel", "1").wait() == 0
    _, errors = launcher.communicate(timeout=30)
    assert launcher.returncode == 1 and "a.log: CANCELLED: cancelled" in errors


def test_held_job_is_reported_once_and_waited_for(cluster):
    (cluster.home / "held").write_text("")
    cluster.program(
        "job", f"until [ $(grep -c squeue {cluster.home}/calls) -ge 3 ]; do sleep 0.1; done; rm {cluster.home}/held\n"
    )
    status, errors = cluster.run("slurm.pl", "a.log", "job")
    assert (status, errors) == (0, "slurm.pl: warning: job 1: does not start by itself: JobHeldUser\n")


def test_submission_is_tried_again_and_a_wrong_one_is_not(cluster):
    (cluster.home / "silent").write_text("1")
    status, errors = cluster.run("slurm.pl", "a.log", "true")
    assert status == 0 and "Socket timed out" in errors and "trying again" in errors
    cluster.program("sbatch", "echo 'error: invalid partition specified: x' >&2; exit 1\n")
    status, errors = cluster.run("slurm.pl", "a.log", "true")
    assert status == 1 and "invalid partition specified: x" in errors and "sbatch --export=PATH" in errors
    cluster.environment["PATH"] = "/usr/sbin/none"
    status, errors = cluster.run("slurm.pl", "a.log", "true")
    assert status == 1 and "sbatch: No such file" in errors and "cmd.sh" in errors


def test_submission_whose_answer_was_lost_is_not_repeated(cluster):
    (cluster.folder / "real").mkdir()
    (cluster.folder / "bin" / "sbatch").rename(cluster.folder / "real" / "sbatch")
    cluster.program(
        "sbatch",
        f'{cluster.folder}/real/sbatch "$@" >/dev/null\n'
        f"echo 1 {cluster.folder}/q/a.sh >{cluster.home}/listed\n"
        "echo Socket timed out >&2; exit 1\n",
    )
    status, errors = cluster.run("slurm.pl", "a.log", "exit", 4)
    assert status == 1 and "exit status 4" in errors and len(cluster.calls("sbatch")) == 1


def test_status_that_arrives_late_or_never(cluster):
    """On slow storage the scheduler says FAILED long before the file is there; if it never comes, that has to do."""
    move = f'case $2 in *never*) ;; *) (sleep 1.5; {shutil.which("mv")} "$@") >/dev/null 2>&1 & ;; esac\n'
    cluster.program("mv", move)
    late, never = cluster.run_together(
        ["slurm.pl", "JOB=1:2", "late.JOB.log", "exit", "JOB"],
        ["slurm.pl", "--patience", 1, "JOB=1:2", "never.JOB.log", "exit", "$((JOB*7-7))"],
    )
    assert late[0] == 1 and "late.2.log: exit status 2" in late[1]
    assert never[0] == 1 and never[1].startswith("slurm.pl: 1 / 2 failed") and "never.2.log: exit status 7" in never[1]


def test_job_that_the_queue_forgot_is_looked_up_or_called_lost(cluster):
    cluster.program(
        "job",
        "echo at work\n"
        '[ "$1" != known ] || echo "$SLURM_JOB_ID|CANCELLED by 0|0:15" >$FAKE_CLUSTER/history.$SLURM_JOB_ID\n'
        'rm -f "$FAKE_CLUSTER/${SLURM_JOB_ID}"_*; kill -9 $PPID\n',
    )
    results = cluster.run_together(
        ["slurm.pl", "--patience", 1, "a.log", "exec", "job"],
        ["slurm.pl", "--patience", 1, "b.log", "exec", "job", "known"],
        ["queue.pl", "--patience", 1, "c.log", "exec", "job"],
    )
    for (status, errors), part in zip(results, ("lost: the scheduler does not", "CANCELLED: cancelled", "lost: the")):
        assert status == 1 and f".log: {part}" in errors and "    | at work" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_cancels_what_was_submitted(cluster, number):
    launcher = cluster.popen("slurm.pl", "JOB=1:2", "x.JOB.log", "touch", "ready.JOB", ";", "sleep", 30)
    while not all((cluster.folder / f"ready.{i}").exists() for i in (1, 2)):
        time.sleep(0.05)
    launcher.send_signal(number)
    _, errors = launcher.communicate(timeout=20)
    assert launcher.returncode == 2 and errors == "slurm.pl: interrupted, log is in x.*.log\n"
    assert cluster.calls("scancel") == ["scancel 1"]
    assert "SIGTERM" in (cluster.folder / "x.1.log").read_text()


def test_killed_launcher_finds_its_job_again(cluster):
    wait = ["until", "[", "-e", "go", "]", ";", "do", "sleep", "0.1", ";", "done"]
    words = ["slurm.pl", "a.log", "touch", "ready", ";", *wait, ";", "exit", 4]
    launcher = cluster.popen(*words)
    while not (cluster.folder / "ready").exists():
        time.sleep(0.05)
    launcher.kill()
    launcher.communicate()
    status, errors = cluster.run("slurm.pl", "a.log", "something", "else")
    assert status == 1 and "job 1 of an earlier call still writes it" in errors
    launcher = cluster.popen(*words)
    assert launcher.stderr.readline() == "slurm.pl: job 1 of an earlier call still runs; waiting for it\n"
    (cluster.folder / "go").touch()
    _, errors = launcher.communicate(timeout=30)
    assert launcher.returncode == 1 and "exit status 4" in errors
    assert len(cluster.calls("sbatch")) == 1


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--requeue", "yes", "a.log", "true"], "--requeue must be true or false"),
        (["--num-nodes", "0", "a.log", "true"], "--num-nodes must be a number > 0"),
        (["--nonsense", "1", "a.log", "true"], "no rule for --nonsense 1"),
        (["--config", "none", "a.log", "true"], "none: can't read"),
    ],
)
def test_bad_use(cluster, arguments, part):
    status, errors = cluster.run("slurm.pl", *arguments)
    assert status in (1, 255) and part in errors and "Traceback" not in errors
    assert cluster.calls("sbatch") == []
