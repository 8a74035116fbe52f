"""utils/ssh.pl with a fake ssh on PATH, whose hosts are this machine."""

import signal
import time
from pathlib import Path

import pytest

FAKE = """\
while [ "${1#-}" != "$1" ]; do
  [ "$1" = -o ] && shift
  shift
done
host=$1
shift
[ "$host" != down ] || { echo "ssh: connect to host down: Connection timed out" >&2; exit 255; }
unset RNNT_X
export HOST=$host
cd /
bash -c "$*"
"""


@pytest.fixture
def hosts(cluster):
    cluster.program("ssh", FAKE)
    (cluster.folder / ".queue").mkdir()
    (cluster.folder / ".queue/machines").write_text("alpha\n\nme@beta  # the second\n")
    return cluster


def test_jobs_go_round_the_hosts_and_at_most_one_to_each(hosts):
    (hosts.folder / "job.sh").write_text("mkdir busy.$HOST || exit 9; sleep 0.3; rmdir busy.$HOST; echo $HOST\n")
    assert hosts.run("ssh.pl", "JOB=1:4", "log/x.JOB.log", "bash", "job.sh") == (0, "")
    said = [hosts.body(f"log/x.{i}.log")[0] for i in range(1, 5)]
    assert said[:2] == ["alpha", "me@beta"] and sorted(said) == ["alpha", "alpha", "me@beta", "me@beta"]
    assert "# Ended (code 0) at" in (hosts.folder / "log/x.1.log").read_text()


def test_words_and_environment_pass(hosts):
    (hosts.folder / "path.sh").write_text("export Y=5\n")
    hosts.environment["RNNT_X"] = "a 'b"
    words = ["printf", r"%s\\n", "a  b", "$Y", '"x" $X', "it's JOB", "$RNNT_X", "|", "cat"]
    assert hosts.run("ssh.pl", "JOB=3", "x.JOB.log", *words) == (0, "")
    assert hosts.body("x.3.log") == ["a  b", "5", '"x" $X', "it's 3", "a", "'b"]


def test_failures_are_distinguished(hosts):
    (hosts.folder / "mine").write_text("alpha\ndown\n")
    words = ["--hosts-file", "mine", "--jobs-per-host", 2, "JOB=1:3", "x.JOB.log", "exit", "$((JOB==3?7:0))"]
    status, errors = hosts.run("ssh.pl", *words)
    assert status == 1 and errors.startswith("ssh.pl: 2 / 3 failed, log is in x.*.log")
    assert "x.2.log: exit status 255: can't reach down" in errors and "Connection timed out" in errors
    assert "x.3.log: exit status 7" in errors


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 2), (signal.SIGKILL, -9)])
def test_jobs_end_with_the_launcher(hosts, number, status):
    launcher = hosts.popen("ssh.pl", "a.log", "echo", "$BASHPID", ">", "pid", ";", "sleep", 60, ";", "true")
    pid = hosts.folder / "pid"
    while not pid.exists() or not pid.read_text():
        time.sleep(0.05)
    launcher.send_signal(number)
    assert launcher.wait(timeout=20) == status
    process = Path("/proc") / pid.read_text().strip()
    end = time.monotonic() + 10
    while process.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not process.exists()


@pytest.mark.parametrize(
    "text, part",
    [
        (None, "No such file"),
        ("# none\n", "no host"),
        ("-oProxyCommand=x\n", "-oProxyCommand=x: write one host per line"),
    ],
)
def test_bad_list_of_hosts(hosts, text, part):
    path = hosts.folder / ".queue/machines"
    path.unlink() if text is None else path.write_text(text)
    status, errors = hosts.run("ssh.pl", "a.log", "true")
    assert status == 1 and ".queue/machines" in errors and part in errors
