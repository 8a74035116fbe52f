"""slurm.pl on a real Slurm of three nodes."""

import re
import signal

import pytest

pytestmark = pytest.mark.slow

# Saves its state when it is asked to, and ends well when it is started again.
SAVER = """
import os, signal, sys, time
rank = os.environ.get("RANK", "0")
def save(number, frame):
    time.sleep(0.2 + int(rank))
    print("rank", rank, "saved", flush=True)
    os._exit(99)
signal.signal(signal.SIGUSR1, save)
signal.signal(signal.SIGTERM, save)
if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
    print("rank", rank, "of", os.environ.get("WORLD_SIZE"), "continues", flush=True)
    sys.exit(0)
print("ready", rank, flush=True)
time.sleep(60)
"""

CONF = """
command sbatch --export=PATH
option mem=* --mem $0
option gpu=* --gres=gpu:$0
option lost=yes --no-requeue
"""


@pytest.fixture
def place(slurm, tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "slurm.conf").write_text(CONF)
    (tmp_path / "saver.py").write_text(SAVER)
    return tmp_path


def job_of(folder, base="a"):
    return (folder / "q" / f"{base}.state" / "id").read_text().strip()


def test_array_with_one_failing_task(slurm, place):
    job = ["echo", "$CUDA_VISIBLE_DEVICES", "it's JOB", '"x" y', ";", "exit", "$((JOB==3?7:0))"]
    options = ["--gpu", 1, "--mem", "100M", "--max-jobs-run", 2, "JOB=1:4"]
    status, out, errors = slurm.run(place, "slurm.pl", *options, "log/a.JOB.log", *job)
    assert (status, out) == (1, "") and errors.startswith("slurm.pl: 1 / 4 failed, log is in log/a.*.log")
    assert "log/a.3.log: exit status 7" in errors
    assert re.search(r'^[01] it\'s 2 "x" y$', (place / "log/a.2.log").read_text(), re.MULTILINE)
    again = slurm.run(place, "slurm.pl", "--pick", "failed", "JOB=1:4", "log/a.JOB.log", "echo", "again")
    assert again == (0, "", "")
    assert [("again" in (place / f"log/a.{i}.log").read_text()) for i in (2, 3)] == [False, True]


def test_job_that_somebody_cancels_and_one_whose_node_is_lost(slurm, place):
    waiting = slurm.popen(place, "slurm.pl", "log/a.log", "echo", "ready", ";", "sleep", 60)
    slurm.wait_for(place / "log/a.log", "\nready")
    slurm.run(place, "scancel", job_of(place))
    _, errors = waiting.communicate(timeout=40)
    assert waiting.returncode == 1 and "log/a.log: CANCELLED: cancelled\n    | ready" in errors

    waiting = slurm.popen(place, "slurm.pl", "--lost", "yes", "log/b.log", "echo", "ready", ";", "sleep", 60)
    slurm.wait_for(place / "log/b.log", "\nready")
    node = slurm.run(place, "squeue", "-h", "-j", job_of(place, "b"), "-o", "%N")[1].strip()
    slurm.run(place, "scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        _, errors = waiting.communicate(timeout=40)
    finally:
        slurm.run(place, "scontrol", "update", f"nodename={node}", "state=resume")
    assert waiting.returncode == 1 and "log/b.log: NODE_FAIL: the node was lost" in errors


def test_launcher_that_is_interrupted_cancels_its_job(slurm, place):
    launcher = slurm.popen(place, "slurm.pl", "JOB=1:3", "log/a.JOB.log", "echo", "ready", ";", "sleep", 60)
    slurm.wait_for(place / "log/a.3.log", "\nready")
    job = job_of(place)
    launcher.send_signal(signal.SIGTERM)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 2 and "interrupted" in errors
    assert slurm.run(place, "squeue", "-h", "-j", job, "-t", "PD,R,CG")[1] == ""


@pytest.mark.parametrize("how", ["warned", "preempted"])
def test_job_that_saves_its_state_is_requeued(slurm, place, how):
    options = ["--requeue", "true", "--num-nodes", 2, "--gpu", 2] if how == "warned" else ["--requeue", "true"]
    waiting = slurm.popen(place, "slurm.pl", *options, "log/a.log", "python3", "saver.py")
    slurm.wait_for(place / "log/a.log", "ready 3" if how == "warned" else "ready 0")
    if how == "warned":
        slurm.run(place, "scancel", "--batch", "--signal=USR1", job_of(place))
    else:
        slurm.run(place, "sbatch", "-p", "urgent", "-N3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    _, errors = waiting.communicate(timeout=60)
    log = (place / "log/a.log").read_text()
    assert (waiting.returncode, errors) == (0, ""), log
    assert "# Restart 1" in log and log.rstrip().endswith("with status 0")
    ranks = range(4) if how == "warned" else range(1)
    assert all(f"rank {rank} saved" in log for rank in ranks)
    assert all(f"rank {rank} of {4 if how == 'warned' else None} continues" in log for rank in ranks)


def test_failing_process_takes_those_on_other_nodes_down(slurm, place):
    job = ["[ $RANK -eq 1 ] && exit 5;", "echo rank $RANK at $MASTER_ADDR; sleep 60"]
    status, _, errors = slurm.run(place, "slurm.pl", "--num-nodes", 2, "log/a.log", "bash", "-c", " ".join(job))
    assert status == 1 and "rank 0 at 127.0.0.1" in (place / "log/a.log").read_text()
    assert "task 1: Exited with exit code 5" in errors


def test_preempted_training_on_two_nodes_ends_as_an_undisturbed_one(slurm, recipe, undisturbed):
    slurm.environment["cmd_backend"] = "slurm"
    recipe.use("slurm.pl --gpu 1 --num-threads 4 --mem 4G", "slurm.pl --num-nodes 2 --mem 1G")
    running = slurm.popen(recipe.folder, *recipe.training("exp/slurm"))
    log = recipe.folder / "exp/slurm/log/train.log"
    slurm.wait_for(log, "epoch 1 batch", 200)
    slurm.run(recipe.folder, "scontrol", "requeue", job_of(recipe.folder / "exp/slurm", "train"))
    out, errors = running.communicate(timeout=200)
    assert running.returncode == 0, out[-3000:] + errors[-3000:]
    text = log.read_text()
    assert "2 processes on" in text and "exit status 99" in text and "# Restart 1" in text and "continuing from" in text
    assert recipe.weights("exp/slurm") == undisturbed


def test_training_continues_after_the_network_of_a_node_was_cut(slurm_on_a_network, recipe, undisturbed):
    slurm = slurm_on_a_network
    slurm.environment["cmd_backend"] = "slurm"
    recipe.use("slurm.pl --gpu 1 --num-threads 4 --mem 4G", "slurm.pl --num-nodes 2 --mem 1G", interface="eth0")
    running = slurm.popen(recipe.folder, *recipe.training("exp/cut", "--save-every-n 2"))
    log = recipe.folder / "exp/cut/log/train.log"
    slurm.wait_for(log, "checkpoint-", 200)
    # The node stays away: two others are left for the restart.
    slurm.run(recipe.folder, "ip", "-n", f"rnnt{slurm.port}-2", "link", "set", "eth0", "down")
    out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, out[-3000:] + errors[-3000:]
    assert "# Restart 1" in log.read_text() and "continuing from" in log.read_text()
    assert recipe.weights("exp/cut") == undisturbed
