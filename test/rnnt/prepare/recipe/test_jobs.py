"""Following the log of a job."""

import sys

from rnnt.prepare.recipe.jobs import follow, threads_per_job

WRITER = "import pathlib, sys, time; log = pathlib.Path(sys.argv[1]); log.write_text('one\\n'); {}; sys.exit(5)"


def run(log, code):
    return follow(log, [sys.executable, "-c", WRITER.format(code), str(log)])


def test_log_is_shown_to_its_last_line(tmp_path, capfd):
    log = tmp_path / "exp/log/a.log"
    log.parent.mkdir(parents=True)
    log.write_text("old\n")
    assert run(log, "time.sleep(0.5); log.open('a').write('two\\n')") == (5, False)
    assert capfd.readouterr().out == "one\ntwo\n"


def test_log_that_begins_again_is_shown_again(tmp_path, capfd):
    log = tmp_path / "exp/log/a.log"
    assert run(log, "time.sleep(1); log.unlink(); log.write_text('other\\n')") == (5, False)
    assert capfd.readouterr().out == "one\nother\n"


def test_log_of_a_job_that_outlived_its_launcher_is_kept(tmp_path, capfd):
    log = tmp_path / "exp/log/a.log"
    for path in (log, tmp_path / "exp/q/a.state/id"):
        path.parent.mkdir(parents=True)
        path.write_text("at work\n")
    assert follow(log, ["sleep", "1"]) == (0, False)
    assert capfd.readouterr().out == "at work\n"


def test_threads_of_jobs():
    assert threads_per_job("run.pl --mem 1G", 3, 8) == 2 and threads_per_job("run.pl", 9, 8) == 1
    assert threads_per_job("slurm.pl", 3, 8) == 0
