"""utils/experiment.sh: decoding as one job or as an array, what is done is kept."""

import subprocess
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"

SCRIPT = """#!/usr/bin/env bash
set -euo pipefail
here=$PWD
. {utils}/experiment.sh
exp_dir=exp/a
decode_sets="dev test"
decode_methods="greedy_search"
. {utils}/parse_options.sh
. {utils}/stages.sh
PATH=$PWD:{utils}:$PATH
decode_cmd=run.pl
stage=2
stop_stage=2
run_experiment
"""
# Stands in for decode.py: notes how it was called, fails on part 2 where the file `fail` is.
DECODE = """#!/usr/bin/env bash
echo "${@: -2}" >>calls
case " $*" in
  *" --split 2/3") [ ! -e fail ] || exit 1 ;;
  *" --split "*) ;;
  *) for name in dev test; do mkdir -p exp/a/decode_greedy_search/$name; touch exp/a/decode_greedy_search/$name/summary.json; done ;;
esac
"""  # noqa: E501


@pytest.fixture
def decode(tmp_path):
    for name, text in (("run.sh", SCRIPT.format(utils=UTILS)), ("decode.py", DECODE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "exp/a").mkdir(parents=True)
    (tmp_path / "exp/a/epoch-1.pt").touch()

    def call(*options):
        """The last two words of every call of decode.py, and the result."""
        (tmp_path / "calls").write_text("")
        command = [tmp_path / "run.sh", *options]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        return (tmp_path / "calls").read_text().splitlines(), result

    return call


def test_one_job(decode, tmp_path):
    calls, result = decode()
    assert (calls, result.returncode) == (["--beam-size 4"], 0), result.stderr
    assert "--decode-sets dev test" in (tmp_path / "exp/a/log/decode_greedy_search.log").read_text()
    calls, result = decode()
    assert calls == [] and "newer than the model, kept" in result.stdout


def test_an_array_of_jobs(decode, tmp_path):
    calls, result = decode("--decode-nj", "3")
    assert sorted(calls[:3]) == [f"--split {k}/3" for k in (1, 2, 3)] and calls[3:] == ["--merge 3"]
    assert result.returncode == 0 and (tmp_path / "exp/a/log/decode_greedy_search.3.log").is_file()
    # The number of jobs changes no result.
    assert decode("--decode-nj", "2")[0] == []


def test_a_failed_part_leaves_no_result(decode, tmp_path):
    (tmp_path / "fail").touch()
    calls, result = decode("--decode-nj", "3")
    assert len(calls) == 3 and result.returncode == 1
    assert "a job failed" in result.stderr and "parts that are done are kept" in result.stderr
    (tmp_path / "fail").unlink()
    calls, result = decode("--decode-nj", "3")
    assert calls[3:] == ["--merge 3"] and result.returncode == 0


def test_force_removes_old_parts(decode, tmp_path):
    old = tmp_path / "exp/a/decode_greedy_search/dev/parts/1-of-3.jsonl"
    old.parent.mkdir(parents=True)
    old.touch()
    decode("--decode-nj", "3")
    assert old.exists()
    calls, _ = decode("--decode-nj", "3", "--force", "true")
    assert len(calls) == 4 and not old.exists()
