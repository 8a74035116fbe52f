"""What is up to date: keys of commands, markers of stages, results of decoding."""

import os
import sys

import pytest

from rnnt.errors import UserError
from rnnt.prepare.recipe.stages import Stage, is_decoded, is_done, mark_done, run_stage, stage_marker, work_key


def test_key_is_the_command_and_its_configurations(tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("a: 1\n")
    command = ["python3", "/checkout/x.py", "--config", str(config), "--nj", "4", "--out", "a b"]
    key = work_key(command, "/checkout")
    assert key.splitlines()[:2] == ["python3", "x.py"] and "'a b'" in key and "4" not in key.splitlines()
    assert work_key([*command, "--cmd", "slurm.pl --mem 4G"], "/checkout") == key
    # A checkout that moves stays the same.
    moved = [word.replace("/checkout", "/elsewhere") for word in command]
    assert work_key(moved, "/elsewhere") == key
    assert work_key([*command, "--size", "3"], "/checkout") != key
    config.write_text("a: 2\n")
    assert work_key(command, "/checkout") != key
    # So does what the configuration is based on.
    config.write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml  # a circle is the program's to refuse\n")
    key = work_key(command, "/checkout")
    (tmp_path / "b.yaml").write_text("a: 3\n")
    assert work_key(command, "/checkout") != key


def test_markers(tmp_path):
    marker = tmp_path / "b/.done"
    assert not is_done(marker, "key\n")
    mark_done(marker, "key\n")
    assert is_done(marker, "key\n") and not is_done(marker, "other\n")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(number, code="pass", **more):
        return Stage("prepare.sh", number, "work", f"data/{number}", [sys.executable, "-c", code], **more)

    return make


def test_a_stage_runs_once(stage, capfd):
    assert run_stage(stage(3)) == run_stage(stage(3)) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "stage 3: work" and out[1].startswith(f"  {sys.executable} -c pass")
    assert out[2].startswith("stage 3: work: took ") and out[3:] == ["stage 3: work: done before, skipped"]
    assert run_stage(stage(3), first=3) == 0 and "took" in capfd.readouterr().out
    for first, last in ((4, 9), (0, 2)):
        assert run_stage(stage(3), first, last) == 0 and capfd.readouterr().out == ""


def test_what_was_given_otherwise_is_kept_on_request(stage, capfd):
    run_stage(stage(0, "a = 1"))
    run_stage(stage(0, "a = 2", keep=True))
    assert capfd.readouterr().out.endswith("done before, skipped\n")


def test_a_stage_that_runs_makes_later_ones_run_again(stage):
    for number in (1, 2, 10):
        run_stage(stage(number))
    run_stage(stage(2, "print(2)"))
    done = [stage_marker(f"data/{number}", number).exists() for number in (1, 2, 10)]
    assert done == [True, True, False]


def test_failures_and_interruptions(stage, capfd):
    run_stage(stage(3))
    assert run_stage(stage(3, "raise SystemExit(5)")) == 1
    assert "fix what is reported above and call prepare.sh again" in capfd.readouterr().err
    assert not stage(3).is_done()
    assert run_stage(stage(3, "raise SystemExit(130)")) == 130
    assert "the same command continues" in capfd.readouterr().err
    interrupt = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    assert run_stage(stage(3, interrupt)) == 130
    assert "KeyboardInterrupt" in capfd.readouterr().err
    with pytest.raises(UserError, match="can't run no-such"):
        run_stage(Stage("prepare.sh", 3, "work", "data/3", ["no-such"]))


def test_a_command_without_folder_always_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    stage = Stage("run.sh", 2, "work", "", [sys.executable, "-c", "print('ran')"])
    assert run_stage(stage) == run_stage(stage) == 0
    assert capfd.readouterr().out.splitlines().count("ran") == 2 and not any(tmp_path.iterdir())


def test_decoded_is_complete_same_and_newer_than_the_model(tmp_path):
    folder = tmp_path / "decode_greedy_search"
    for name in ("dev", "test"):
        (folder / name).mkdir(parents=True)
        (folder / name / "summary.json").touch()
    model = tmp_path / "epoch-1.pt"
    model.touch()
    assert not is_decoded(folder, ["dev", "test"], "key\n")
    mark_done(folder / ".done", "key\n")
    os.utime(model, ns=(0, 0))
    assert is_decoded(folder, ["dev", "test"], "key\n")
    assert not is_decoded(folder, ["dev", "test"], "other\n")
    assert not is_decoded(folder, ["dev", "test", "more"], "key\n")
    later = (folder / ".done").stat().st_mtime_ns + 1
    average = tmp_path / "averaged-epoch-1-losses.pt"  # an export made it
    average.touch()
    os.utime(average, ns=(later, later))
    assert is_decoded(folder, ["dev", "test"], "key\n")
    os.utime(model, ns=(later, later))
    assert not is_decoded(folder, ["dev", "test"], "key\n")
