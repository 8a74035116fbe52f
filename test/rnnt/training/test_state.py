"""What a run remembers: the moving average of the weights, seeds, and what all ranks begin with."""

import subprocess
import sys

import pytest
import torch

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint, numbered
from rnnt.train import main
from rnnt.training.observers import Observer
from rnnt.training.update import _seed

DECAY = 0.8


class First(Observer):
    """Keeps the weights with which a run begins."""

    def run_start(self, trainer):
        self.weights = {name: value.clone() for name, value in trainer.model.network.state_dict().items()}


@pytest.fixture
def averaged(tmp_path, toy_argv, train_watched):
    """A run with a moving average and a checkpoint of each update; the folder and the first weights."""
    argv = toy_argv(tmp_path / "exp", ema_decay=DECAY, save_every_n=1, keep_last_k=99, keep_last_epochs=0)
    first = First()
    train_watched(argv, first)
    return tmp_path / "exp", first.weights


def test_moving_average_follows_its_equation_from_the_first_weights(averaged):
    exp, first = averaged
    expected = {name: value.double() for name, value in first.items() if value.is_floating_point()}
    states = [load_checkpoint(path) for kind in ("checkpoint", "epoch") for path in numbered(exp, kind).values()]
    states.sort(key=lambda state: state["position"]["step"])
    assert [state["position"]["step"] for state in states] == list(range(1, len(states) + 1))
    for state in states:
        for name, e in expected.items():
            e.mul_(DECAY).add_(state["model"][name].double(), alpha=1 - DECAY)
            torch.testing.assert_close(state["ema"]["model"][name].double(), e, rtol=1e-5, atol=1e-6)


def test_moving_average_is_continued_bit_for_bit(averaged, tmp_path, toy_argv):
    exp, _ = averaged
    whole = load_checkpoint(exp / "epoch-2.pt")
    for path in [*numbered(exp, "epoch").values(), *numbered(exp, "checkpoint").values()]:
        if path.name != "checkpoint-3.pt":
            path.unlink()
    main(toy_argv(exp, ema_decay=DECAY))
    again = load_checkpoint(exp / "epoch-2.pt")
    for part in ("model", "objectives"):
        assert all(torch.equal(again["ema"][part][name], value) for name, value in whole["ema"][part].items())


def test_dev_set_and_decoding_take_the_moving_average(averaged):
    exp, _ = averaged
    state = load_checkpoint(exp / "epoch-2.pt")
    key = "joiner.output.weight"
    assert not torch.equal(state["ema"]["model"][key], state["model"][key])
    found = load_for_decoding(exp, Selection())
    assert found.name == "epoch-2-avg-1-ema"
    assert torch.equal(found.network.state_dict()[key], state["ema"]["model"][key])
    found = load_for_decoding(exp, Selection(use_ema=False))
    assert found.name == "epoch-2-avg-1" and torch.equal(found.network.state_dict()[key], state["model"][key])
    assert load_for_decoding(exp, Selection(avg=2)).name == "epoch-2-avg-2-ema"


def test_evaluation_sees_the_moving_average(tmp_path, toy_argv, monkeypatch):
    seen = []

    def record(model, *arguments, **keywords):
        seen.append(model)
        return evaluate(model, *arguments, **keywords)

    from rnnt.training.tasks import recognition

    evaluate = recognition.evaluate
    monkeypatch.setattr(recognition, "evaluate", record)
    main(toy_argv(tmp_path, ema_decay=DECAY, num_epochs=1))
    state = load_checkpoint(tmp_path / "epoch-1.pt")
    assert all(torch.equal(value, state["ema"]["model"][name]) for name, value in seen[0].state_dict().items())


def test_options_of_the_optimizer_are_those_of_the_new_run(tmp_path, toy_argv, capsys):
    main(toy_argv(tmp_path, num_epochs=1))
    main(toy_argv(tmp_path, num_epochs=2, beta2=0.9, weight_decay=0.5))
    printed = capsys.readouterr().out
    assert "weight_decay of the optimizer is 0.5 from here on; it was 0.001 before" in printed
    assert "betas of the optimizer is (0.9, 0.9) from here on; it was (0.9, 0.98) before" in printed
    groups = load_checkpoint(tmp_path / "epoch-2.pt")["optimizer"]["param_groups"]
    assert [(group["betas"], group["weight_decay"]) for group in groups] == [((0.9, 0.9), 0.5), ((0.9, 0.9), 0.0)]


def test_moving_average_begins_with_the_weights_of_a_checkpoint_without_one(tmp_path, toy_argv, capsys):
    main(toy_argv(tmp_path, num_epochs=1))
    main(toy_argv(tmp_path, ema_decay=DECAY))
    assert "holds no average of the weights" in capsys.readouterr().out
    assert "ema" in load_checkpoint(tmp_path / "epoch-2.pt")


SCRIPT = """
import hashlib, os, sys, torch
from rnnt.model import transducer
from rnnt.train import main
from rnnt.training import run
from rnnt.training.loop import Trainer

class Random(transducer.Transducer):
    # Each rank draws other weights, as ranks with seeds of their own would.
    def __init__(self, *arguments):
        torch.manual_seed(int(os.environ["RANK"]))
        super().__init__(*arguments)

def digest(state):
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in state.values())).hexdigest()

def report(self):
    models = self.model.network, self.ema.module.network
    found = self.world.gather((self.first, *(digest(model.state_dict()) for model in models)))
    if self.world.is_main:
        print("FOUND", *sum(found, ()))

init = Trainer.__init__
def remember(self, options, task, *rest):
    self.first = digest(task.model.network.state_dict())
    init(self, options, task, *rest)

run.Transducer, Trainer.__init__, Trainer.run = Random, remember, report
if __name__ == "__main__":
    main(sys.argv[1:])
"""


@pytest.mark.slow
def test_all_ranks_begin_with_the_same_weights_and_average(tmp_path, toy_argv):
    (tmp_path / "ranks.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "ranks.py"), *toy_argv(tmp_path, world_size=2, ema_decay=DECAY)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    words = next(line for line in output.splitlines() if line.startswith("FOUND")).split()[1:]
    first, model, ema = words[0::3], words[1::3], words[2::3]
    assert first[0] != first[1], "the ranks should have drawn different weights"
    assert set(model) == {first[0]} and set(ema) == {first[0]}


def test_seeds_differ_for_every_place_and_stay_the_same():
    places = [(seed, epoch, position) for seed in (1, 2) for epoch in (1, 2, 3) for position in range(200)]
    seeds = [_seed(*place) for place in places]
    assert len(set(seeds)) == len(places) and seeds == [_seed(*place) for place in places]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_without_a_seed_two_runs_are_the_same_run(tmp_path, toy_argv):
    """No option needs to be given: the seed has a default, and the last model is kept."""
    for name in ("one", "two"):
        main(toy_argv(tmp_path / name, num_epochs=1))
    one, two = (load_checkpoint(tmp_path / name / "epoch-1.pt")["model"] for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    main(toy_argv(tmp_path / "other", num_epochs=1, seed=7))
    other = load_checkpoint(tmp_path / "other" / "epoch-1.pt")["model"]
    assert not torch.equal(one["joiner.output.weight"], other["joiner.output.weight"])
