"""conf/queue.conf and conf/slurm.conf."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "utils"))

from launch import conf, grid_engine, slurm  # noqa: E402
from launch.command_line import LaunchError, parse  # noqa: E402

TEXT = """
# a site
command sbatch --comment "a b"  # how to submit
option mem=* --mem $0 --tmp=$0
option mem=0
option num-threads=1
option gpu=* --gres=gpu:$0
option gpu=0 -p cpu
default gpu=0
"""


def arguments(*words, text=TEXT):
    request = parse("slurm.pl", [*words, "a.log", "true"])
    return conf.parse(text, "x.conf").arguments(request)


def test_values_take_their_place():
    assert conf.parse(TEXT, "x.conf").command_words() == ["sbatch", "--comment", "a b"]
    assert arguments("--mem", "4 G") == [["--mem", "4 G", "--tmp=4 G"], ["-p", "cpu"]]


def test_exact_value_goes_before_star_and_may_be_empty():
    assert arguments("--mem", "0", "--gpu", "2", "--num_threads", "1") == [[], ["--gres=gpu:2"], []]


def test_last_value_counts_and_options_of_the_launcher_are_not_the_sites():
    assert arguments("--gpu", "2", "--gpu", "0", "--pick", "failed", "--requeue", "true") == [["-p", "cpu"]]


def test_unknown_options_and_values_are_refused():
    with pytest.raises(LaunchError, match="x.conf has no rule for --no-such 3: add a line like `option no_such="):
        arguments("--no-such", "3")
    with pytest.raises(LaunchError, match="no rule for --num-threads 2"):
        arguments("--num-threads", "2")


@pytest.mark.parametrize(
    "text, part",
    [
        ("command a\noptoin mem=* x", "x.conf, line 2: can't read `optoin mem=[*] x`"),
        ("command a\n\noption mem x", "x.conf, line 3"),
        ("command a\ndefault gpu=0 more", "x.conf, line 2"),
        ("command a\noption x=* 'a", "x.conf, line 2.*quotation"),
        ("option x=* a", "x.conf: no line `command CMD`"),
        ("command", "x.conf: no line `command CMD`"),
    ],
)
def test_mistakes_are_named_with_file_and_line(text, part):
    with pytest.raises(LaunchError, match=part):
        conf.parse(text, "x.conf")


def test_file_of_the_command_line_then_the_usual_one_then_what_is_built_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = parse("slurm.pl", ["a.log", "true"])
    assert conf.load(request, "conf/slurm.conf", slurm.BUILT_IN).command_words()[0] == "sbatch"
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text("command usual")
    assert conf.load(request, "conf/slurm.conf", slurm.BUILT_IN).command_words() == ["usual"]
    (tmp_path / "mine").write_text("command mine")
    request = parse("slurm.pl", ["--config", "mine", "a.log", "true"])
    assert conf.load(request, "conf/slurm.conf", slurm.BUILT_IN).command_words() == ["mine"]
    (tmp_path / "mine").unlink()
    with pytest.raises(LaunchError, match="mine: can't read"):
        conf.load(request, "conf/slurm.conf", slurm.BUILT_IN)


@pytest.mark.parametrize("backend", [slurm, grid_engine], ids=["slurm", "grid_engine"])
def test_built_in_configurations_know_the_common_options(backend):
    options = ["--mem", "4G", "--gpu", "2", "--num-threads", "3", "--time", "1:0:0", "--name", "x"]
    found = conf.parse(backend.BUILT_IN, "built-in").arguments(parse("x.pl", [*options, "a.log", "true"]))
    assert len(found) == 5 and all(found)


def test_native_options_keep_their_words():
    request = parse("queue.pl", ["-V", "-l", "a=1 b", "-pe", "smp", "4", "-tc", "3", "-sync", "y", "a.log", "true"])
    assert request.native == ["-V", "-l", "a=1 b", "-pe", "smp", "4"]
    assert request.options == {"max_jobs_run": ["3"], "sync": ["y"]}
