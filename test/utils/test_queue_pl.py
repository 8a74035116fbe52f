"""utils/queue.pl on a fake cluster."""

import signal
import time

import pytest


def test_array_with_a_failed_task_and_that_task_again(cluster):
    options = ["--mem", "2G", "--max-jobs-run", 2, "-l", "x=1", "--num-threads", 2]
    status, errors = cluster.run(
        "queue.pl", *options, "JOB=1:6", "log/x.JOB.log", "echo", "JOB", ";", "exit", "$((JOB%3))"
    )
    assert status == 1 and errors.startswith(
        "queue.pl: 4 / 6 failed, log is in log/x.*.log\n  log/x.1.log: exit status 1\n"
    )
    (call,) = cluster.calls("qsub")
    assert "-l mem_free=2G,ram_free=2G -tc 2 -pe smp 2 -l x=1 -o q/x.log -t 1-6 q/x.sh" in call
    assert cluster.body("log/x.5.log") == ["5"]
    assert "# Finished at" in (cluster.folder / "log/x.5.log").read_text()
    # qsub knows only ranges: tasks that stand apart keep their numbers in the script.
    words = ["--pick", "failed", "JOB=1:6", "log/x.JOB.log", "echo", "again", "JOB", ";", "exit", "$((JOB==4?9:0))"]
    status, errors = cluster.run("queue.pl", *words)
    assert status == 1 and errors.startswith("queue.pl: 1 / 4 failed") and "log/x.4.log: exit status 9" in errors
    assert "-t 1-4 " in cluster.calls("qsub")[-1]
    assert [cluster.body(f"log/x.{i}.log") for i in (3, 5)] == [["3"], ["again 5"]]


def test_folders_that_are_called_like_the_variable_keep_their_names(cluster_in_job_folder):
    cluster, (*array, log) = cluster_in_job_folder
    words = [f"--out={cluster.folder}/JOB", "/data/JOBS/x", f"{cluster.folder}/NUMBER_OF_TASK"]
    assert cluster.run("queue.pl", *array, f"{cluster.folder}/log/{log}", "echo", *words) == (0, "")
    expected = [f"--out={cluster.folder}/2", "/data/2S/x"] if array else words[:2]
    assert cluster.body(f"log/{log.replace('JOB', '2')}") == [" ".join([*expected, words[2]])]
    assert {path.name for path in (cluster.folder / "q").iterdir()} == {"a.sh", "a.log"}


def test_one_job_is_no_array(cluster):
    assert cluster.run("queue.pl", "--max-jobs-run", 3, "JOB=4", "x.JOB.log", "echo", "JOB") == (0, "")
    assert "-t" not in cluster.calls("qsub")[0].split() and "-tc" not in cluster.calls("qsub")[0].split()
    assert cluster.body("x.4.log") == ["4"]
    # The name of a job begins with a letter.
    assert " -N " not in cluster.calls("qsub")[0]
    assert cluster.run("queue.pl", "4.log", "true") == (0, "")
    assert " -N job-4.sh " in cluster.calls("qsub")[1]


def test_status_99_means_again_only_where_that_is_asked_for(cluster):
    job = ["echo", "start $RESTARTED", ";", "[", "$RESTARTED", "-eq", "1", "]", "||", "exit", "99"]
    assert cluster.run("queue.pl", "--requeue", "true", "a.log", *job) == (0, "")
    assert cluster.body("a.log") == ["start 0", "start 1"]
    assert "-r y -notify" in cluster.calls("qsub")[0]
    status, errors = cluster.run("queue.pl", "b.log", *job)
    assert status == 1 and "exit status 99" in errors and cluster.body("b.log") == ["start 0"]
    status, errors = cluster.run("queue.pl", "c.log", "exit", 100)
    assert status == 1 and "exit status 100" in errors


def test_killed_tasks_are_reported(cluster):
    limit = "qmaster_enforced_h_rt"
    (cluster.home / "faults").write_text(f"1 {limit} 9\n2 FAILED 9\n3 Eqw 0\n4 CANCELLED 9\n")
    options = ["--patience", 1, "JOB=1:5", "x.JOB.log"]
    status, errors = cluster.run(
        "queue.pl", *options, "echo", "at work", ";", "[", "JOB", "=", 5, "]", "||", "sleep", 30
    )
    assert status == 1 and errors.startswith("queue.pl: 4 / 5 failed")
    assert f"x.1.log: ended by Grid Engine: {limit}\n    | at work" in errors
    assert "x.2.log: killed by signal SIGKILL" in errors
    assert "x.3.log: error state Eqw: can't open the log" in errors
    # What is in the error state must not run when the state is cleared.
    assert cluster.calls("qdel") == ["qdel -f 1 -t 3"]


def test_silent_scheduler_is_waited_for(cluster):
    cluster.program_that_meets_silence("job")
    status, errors = cluster.run("queue.pl", "a.log", "job")
    assert status == 1 and "exit status 3" in errors and "timed out" not in errors


def test_interrupt_cancels_what_was_submitted(cluster):
    launcher = cluster.popen("queue.pl", "a.log", "touch", "ready", ";", "sleep", 30)
    while not (cluster.folder / "ready").exists():
        time.sleep(0.05)
    launcher.send_signal(signal.SIGTERM)
    _, errors = launcher.communicate(timeout=20)
    assert launcher.returncode == 2 and errors == "queue.pl: interrupted, log is in a.log\n"
    assert cluster.calls("qdel") == ["qdel 1"]
    assert "Stopped by SIGTERM" in (cluster.folder / "a.log").read_text()


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--num-nodes", "2", "a.log", "true"], "queue.pl runs a job on one machine"),
        (["--x", "1", "a.log", "true"], "no rule for --x 1"),
    ],
)
def test_bad_use(cluster, arguments, part):
    status, errors = cluster.run("queue.pl", *arguments)
    assert status in (1, 255) and part in errors and "Traceback" not in errors
