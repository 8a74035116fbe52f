"""local/decode_sets.py: decoding as one job or as an array, what is done is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"

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
    (tmp_path / "decode.py").write_text(DECODE)
    (tmp_path / "decode.py").chmod(0o755)
    (tmp_path / "exp/a").mkdir(parents=True)
    paths = [tmp_path, Path(sys.executable).parent, UTILS, os.environ["PATH"]]
    environment = {**os.environ, "PATH": ":".join(map(str, paths)), "PYTHONPATH": str(UTILS.parent)}
    (tmp_path / "exp/a/epoch-1.pt").touch()

    def call(*options):
        """The last two words of every call of decode.py, and the result."""
        (tmp_path / "calls").write_text("")
        command = [sys.executable, UTILS.parent / "local/decode_sets.py", "--exp-dir", "exp/a", "--cmd", "run.pl"]
        command += ["--decode-sets", "dev test", "--decode-methods", "greedy_search", *options]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
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


def test_an_experiment_folder_that_is_called_like_a_range_variable(decode, tmp_path):
    """Wherever it lies: the checkout and the working directory are others."""
    exp = tmp_path / "JOB_12/JOB"
    exp.mkdir(parents=True)
    (exp / "epoch-1.pt").touch()
    calls, result = decode("--exp-dir", str(exp), "--decode-nj", "2")
    assert result.returncode == 0, result.stderr
    assert sorted(calls[:2]) == ["--split 1/2", "--split 2/2"] and calls[2:] == ["--merge 2"]
    assert f"--exp-dir {exp} " in (exp / "log/decode_greedy_search.2.log").read_text()
    assert f"the first is shown: {exp}/log/decode_greedy_search.1.log" in result.stdout


def test_a_failed_part_leaves_no_result(decode, tmp_path):
    (tmp_path / "fail").touch()
    calls, result = decode("--decode-nj", "3")
    assert len(calls) == 3 and result.returncode == 1
    assert "a job failed" in result.stderr and "shards that are done are kept" in result.stderr
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


def test_a_new_model_other_options_and_missing_results_decode_again(decode, tmp_path):
    assert decode()[0] and decode()[0] == []
    assert decode("--beam-size", "8")[0] == ["--beam-size 8"]
    (tmp_path / "exp/a/decode_greedy_search/test/summary.json").unlink()
    assert decode("--beam-size", "8")[0] == ["--beam-size 8"]
    model = tmp_path / "exp/a/epoch-2.pt"
    model.touch()
    later = (tmp_path / "exp/a/decode_greedy_search/.done").stat().st_mtime_ns + 1
    os.utime(model, ns=(later, later))
    assert decode("--beam-size", "8")[0] == ["--beam-size 8"]
    assert decode("--beam-size", "8")[0] == []
