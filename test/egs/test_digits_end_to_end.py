"""The main job, from recordings to the table: run.sh as a user calls it, with two epochs instead of seven."""

import json
import os
import subprocess

import pytest


@pytest.fixture
def recipe(copy_recipe):
    return copy_recipe("digits")


def run(recipe):
    command = [recipe / "run.sh", "--dl-dir", os.environ.get("RNNT_TEST_DATA", ""), "--train-opts", "--num-epochs 2"]
    command += ["--decode-sets", "dev test"]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/")


@pytest.mark.slow
def test_from_recordings_to_the_table(recipe):
    first = run(recipe)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    for method in ("greedy_search", "beam_search", "modified_beam_search"):
        for name in ("dev", "test"):
            folder = recipe / "exp" / "train" / f"decode_{method}" / name
            assert json.loads((folder / "summary.json").read_text())["wer"] <= 30.0
            assert (folder / "wer").read_text().startswith("%WER ")
            assert len((folder / "hyp.trn").read_text().splitlines()) == (150 if name == "dev" else 300)
    table = first.stdout[first.stdout.rindex("method") :]
    assert table.count("test") >= 3 and "modified_beam_search" in table

    before = {p: p.stat().st_mtime_ns for p in recipe.glob("exp/train/**/*.trn")}
    second = run(recipe)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "training is complete" in second.stdout and second.stdout.count("kept") >= 3
    assert second.stdout[second.stdout.rindex("method") :] == table
    assert {p: p.stat().st_mtime_ns for p in before} == before
