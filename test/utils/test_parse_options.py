"""utils/parse_options.sh: Kaldi's behaviour, without its traps."""

import subprocess
from pathlib import Path

import pytest

PARSE_OPTIONS = Path(__file__).parents[2] / "utils" / "parse_options.sh"

SCRIPT = """#!/usr/bin/env bash
set -euo pipefail
nj=4
use_gpu=true
name=
config=conf/train.yaml
help_message="Usage: nj=$nj"
. {parse_options}
echo "nj=$nj use_gpu=$use_gpu name=$name config=$config rest=$*"
"""


@pytest.fixture
def run(tmp_path):
    def call(*arguments, script=SCRIPT):
        path = tmp_path / "script.sh"
        path.write_text(script.format(parse_options=PARSE_OPTIONS))
        # A time limit, since Kaldi's parser loops for ever on a missing value.
        return subprocess.run(["bash", str(path), *arguments], capture_output=True, text=True, timeout=20, cwd=tmp_path)

    return call


def parsed(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_options_end_at_the_first_other_word(run):
    out = parsed(run("--nj", "8", "--use-gpu", "false", "data", "--nj", "9"))
    assert out == "nj=8 use_gpu=false name= config=conf/train.yaml rest=data --nj 9"


@pytest.mark.parametrize("argument", ["--use-gpu", "--use_gpu"])
def test_hyphens_and_underscores_are_equal(run, argument):
    assert "use_gpu=false" in parsed(run(argument, "false"))


def test_values_pass_unharmed(run):
    value = """it's "$HOME" `id` * \\n"""
    assert f"name={value} config" in parsed(run("--name", value))


def test_negative_number_and_equals_sign(run):
    assert "nj=-1 " in parsed(run("--nj", "-1"))
    assert "name=--x config" in parsed(run("--name=--x"))


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--no-such", "1"], "invalid option --no-such"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "--use-gpu", "false"], "--nj needs a value"),
        (["--use-gpu", "3"], "must be true or false"),
        (["--config", "missing.conf"], "can't read"),
        (["---", "1"], "invalid option"),
        (["--a.b", "1"], "invalid option"),
    ],
)
def test_errors_are_one_line_on_stderr(run, arguments, part):
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert part in result.stderr and result.stderr.startswith("script.sh: ") and result.stderr.count("\n") == 1


def test_command_line_beats_shell_config(run, tmp_path):
    (tmp_path / "my.conf").write_text("nj=7\nuse_gpu=false\n")
    out = parsed(run("--nj", "3", "--config", "my.conf"))
    assert out == "nj=3 use_gpu=false name= config=conf/train.yaml rest="


def test_yaml_config_is_an_ordinary_option(run, tmp_path):
    (tmp_path / "other.yaml").write_text("exit 3\n")
    assert "config=other.yaml" in parsed(run("--config", "other.yaml"))


def test_yaml_config_needs_to_be_declared(run):
    script = "set -eu\nnj=1\n. {parse_options}\n"
    assert "invalid option --config" in run("--config", "x.yaml", script=script).stderr


def test_help_shows_message_and_ends_well(run):
    for argument in ("--help", "-h"):
        result = run("--nj", "2", argument)
        assert (result.returncode, result.stderr) == (0, "Usage: nj=4\n")
    no_message = "set -eu\nnj=1\n. {parse_options}\n"
    assert run("--help", script=no_message).stderr == "No help found.\n"


def test_empty_cmd_is_refused(run):
    script = "set -eu\ncmd=run.pl\n. {parse_options}\necho $cmd\n"
    assert "cmd.sh" in run("--cmd", "", script=script).stderr
    assert parsed(run("--cmd", "queue.pl --mem 4G", script=script)) == "queue.pl --mem 4G"


def test_leaves_no_names_behind(run):
    script = "set -eu\nname=a\noldval=b\n. {parse_options}\ncompgen -v _po_ || true\ncompgen -A function || true\n"
    assert parsed(run("--name", "x", script=script)) == ""
