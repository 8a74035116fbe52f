"""queue.pl on a real Grid Engine."""

import signal

import pytest

pytestmark = pytest.mark.slow

CONF = """
command qsub -v PATH -cwd -S /bin/bash -j y
option mem=* -l mem_free=$0,ram_free=$0
option num_threads=* -pe smp $0
option max_jobs_run=* -tc $0
option gpu=* -l gpu=$0
"""


@pytest.fixture
def place(grid_engine, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "queue.conf").write_text(CONF)
    return tmp_path


def test_array_with_failing_tasks_and_these_again(grid_engine, place):
    options = ["--gpu", 1, "--mem", "1G", "--num-threads", 2, "--max-jobs-run", 2, "JOB=1:4"]
    job = ["echo", "it's JOB", '"x" y', "$NSLOTS", ";", "exit", "$((JOB%2?0:7))"]
    status, out, errors = grid_engine.run(place, "queue.pl", *options, "log/a.JOB.log", *job)
    assert (status, out) == (1, "") and errors.startswith("queue.pl: 2 / 4 failed, log is in log/a.*.log")
    assert "log/a.2.log: exit status 7" in errors and 'it\'s 3 "x" y 2\n' in (place / "log/a.3.log").read_text()
    words = ["--pick", "failed", "JOB=1:4", "log/a.JOB.log", "echo", "again", "JOB"]
    assert grid_engine.run(place, "queue.pl", *words) == (0, "", "")
    assert "again 4" in (place / "log/a.4.log").read_text() and "again" not in (place / "log/a.3.log").read_text()


def test_job_that_saves_its_state_is_run_again(grid_engine, place):
    job = ["echo", "start $RESTARTED", ";", "[", "$RESTARTED", "-eq", "1", "]", "||", "exit", "99"]
    assert grid_engine.run(place, "queue.pl", "--requeue", "true", "log/a.log", *job) == (0, "", "")
    log = (place / "log/a.log").read_text()
    assert "start 0" in log and "start 1" in log and "# Restart 1" in log


def test_job_that_somebody_deletes_is_reported(grid_engine, place):
    waiting = grid_engine.popen(place, "queue.pl", "--patience", 5, "log/a.log", "echo", "ready", ";", "sleep", 60)
    grid_engine.wait_for(place / "log/a.log", "\nready")
    grid_engine.run(place, "qdel", (place / "q/a.state/id").read_text().strip())
    _, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 1 and "log/a.log: killed by signal SIGKILL" in errors and "    | ready" in errors


def test_launcher_that_is_interrupted_deletes_its_job(grid_engine, place):
    launcher = grid_engine.popen(place, "queue.pl", "JOB=1:2", "log/a.JOB.log", "echo", "ready", ";", "sleep", 60)
    grid_engine.wait_for(place / "log/a.2.log", "\nready")
    launcher.send_signal(signal.SIGTERM)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 2 and "interrupted" in errors
    assert grid_engine.run(place, "qstat")[1] == ""


def test_training_that_is_put_back_ends_as_an_undisturbed_one(grid_engine, recipe, undisturbed):
    grid_engine.environment["cmd_backend"] = "sge"
    recipe.use("queue.pl --gpu 1 --num-threads 4 --mem 4G", "queue.pl --num-threads 2 --mem 1G")
    running = grid_engine.popen(recipe.folder, *recipe.training("exp/sge"))
    log = recipe.folder / "exp/sge/log/train.log"
    grid_engine.wait_for(log, "epoch 1 batch", 200)
    grid_engine.run(recipe.folder, "qmod", "-rj", (recipe.folder / "exp/sge/q/train.state/id").read_text().strip())
    out, errors = running.communicate(timeout=200)
    assert running.returncode == 0, out[-3000:] + errors[-3000:]
    assert "# Restart 1" in log.read_text()
    assert recipe.weights("exp/sge") == undisturbed
