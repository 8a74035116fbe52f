"""training.jsonl, TensorBoard and Weights & Biases get the same numbers; trouble of one ends no training."""

import json
import math
import sys

import pytest

from rnnt.train import main as train
from rnnt.training.recorders.base import numbers

# Writes what it is told, as a line each, to the folder that it is given: enough of `wandb` for a run.
FAKE = """
import json, pathlib

class Run:
    def __init__(self, **settings):
        self.path = pathlib.Path(settings["dir"]) / "calls.jsonl"
        self.note("init", settings)
    def note(self, what, value):
        with open(self.path, "a") as file:
            file.write(json.dumps([what, value]) + "\\n")
    def define_metric(self, name, step_metric):
        self.note("axis", step_metric)
    def log(self, values):
        {log}
        self.note("log", values)
    def finish(self, exit_code):
        self.note("finish", exit_code)

def init(**settings):
    return Run(**settings)
"""


@pytest.fixture
def fake_wandb(tmp_path, monkeypatch):
    """`fake_wandb(log)` puts a package in the place of wandb, whose `log` begins with that statement."""

    def make(log="pass"):
        (tmp_path / "packages").mkdir()
        (tmp_path / "packages" / "wandb.py").write_text(FAKE.format(log=log))
        monkeypatch.syspath_prepend(tmp_path / "packages")
        monkeypatch.delitem(sys.modules, "wandb", raising=False)

    yield make
    sys.modules.pop("wandb", None)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_weights_and_biases_get_what_the_other_recorders_get(tmp_path, toy_argv, fake_wandb):
    fake_wandb()
    exp = tmp_path / "exp"
    for epochs in (1, 2):
        train(toy_argv(exp, num_epochs=epochs, log_interval=1, wandb="digits", tensorboard="true"))
    calls = lines(exp / "calls.jsonl")
    starts = [value for what, value in calls if what == "init"]
    assert [s["project"] for s in starts] == ["digits"] * 2 and starts[0]["config"]["train"]["wandb"] == "digits"
    assert starts[0]["id"] == starts[1]["id"] and starts[0]["name"] == "exp" and starts[0]["resume"] == "allow"
    assert [value for what, value in calls if what == "finish"] == [0, 0]
    logged = [value for what, value in calls if what == "log"]
    expected = [
        {"update": r["step"], **numbers(r["kind"], {k: v for k, v in r.items() if k not in ("kind", "time", "step")})}
        for r in lines(exp / "training.jsonl")
        if r["kind"] in ("progress", "dev")
    ]
    assert logged == expected and {"train/loss", "train/lr"} <= logged[0].keys()
    assert sum("dev/wer" in values for values in logged) == 2

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(exp / "tensorboard"))
    events.Reload()
    for name in ("train/loss", "dev/wer"):
        found = [(e.step, e.value) for e in events.Scalars(name)]
        wanted = [(v["update"], v[name]) for v in logged if name in v]
        assert [s for s, _ in found] == [s for s, _ in wanted]
        assert [x for _, x in found] == pytest.approx([x for _, x in wanted])


def test_a_package_that_fails_ends_no_training(tmp_path, toy_argv, fake_wandb, capsys):
    fake_wandb("raise RuntimeError('no network')")
    train(toy_argv(tmp_path / "exp", num_epochs=1, log_interval=1, wandb="digits"))
    out = capsys.readouterr().out
    assert out.count("Weights & Biases project digits: no more records: no network") == 1
    assert lines(tmp_path / "exp" / "training.jsonl")[-1]["success"] is True


def test_a_package_that_is_not_there_is_said_before_anything_is_written(tmp_path, toy_argv, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        train(toy_argv(tmp_path / "exp", wandb="digits"))
    assert "--wandb: the package wandb is not installed" in capsys.readouterr().err
    assert not (tmp_path / "exp" / "config.json").exists() and not (tmp_path / "exp" / "training.jsonl").exists()


def test_numbers_of_a_record():
    values = {"wer": 5.0, "n": 2, "ref": "one", "success": True, "nothing": None}
    assert numbers("dev", values) == {"dev/wer": 5.0, "dev/n": 2}
    assert numbers("skipped", values) == {} and math.isfinite(numbers("progress", {"loss": 1.0})["train/loss"])
