"""The mean of the weights over any range of updates, recovered from two checkpoints."""

import pytest
import torch

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint, numbered
from rnnt.checkpoints.running_average import RunningAverage, mean_between
from rnnt.errors import UserError
from rnnt.train import main


def test_any_range_is_the_direct_mean():
    generator = torch.Generator().manual_seed(1)
    model, average = torch.nn.Linear(5, 3), RunningAverage()
    snapshots, states = [], []
    for step in range(40):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * (1 + step))
        average.add(model)
        snapshots.append(model.weight.detach().double().clone())
        states.append({"count": average.count, "mean": {k: v.clone() for k, v in average.mean.items()}})
    for first, last in ((0, 40), (0, 1), (7, 12), (38, 39), (1, 40)):
        found = mean_between(states[last - 1], states[first - 1] if first else None)["weight"]
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, torch.stack(snapshots[first:last]).mean(0), rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="no snapshot"):
        mean_between(states[3], states[3])


def weights_of_updates(exp):
    states = [load_checkpoint(p) for kind in ("checkpoint", "epoch") for p in numbered(exp, kind).values()]
    return {state["position"]["step"]: state["model"] for state in states}


def test_decoding_averages_the_updates_between_checkpoints(tmp_path, toy_argv):
    main(toy_argv(tmp_path, average_period=1, save_every_n=1, keep_last_k=99, keep_last_epochs=0))
    weights = weights_of_updates(tmp_path)
    key = "joiner.output.weight"
    end = {e: load_checkpoint(p)["position"]["step"] for e, p in numbered(tmp_path, "epoch").items()}

    def mean(first, last):
        return torch.stack([weights[n][key].double() for n in range(first + 1, last + 1)]).mean(0).float()

    for selection, name, first, last in (
        (Selection(epoch=2, use_averaged_model=True), "epoch-2-avg-1-averaged", end[1], end[2]),
        (Selection(avg=2, use_averaged_model=True), "epoch-2-avg-2-averaged", 0, end[2]),
        (Selection(iter=4, avg=2, use_averaged_model=True), "iter-4-avg-2-averaged", 2, 4),
        (Selection(iter=2, avg=2, use_averaged_model=True), "iter-2-avg-2-averaged", 0, 2),
        (Selection(iter=4, avg=3), "iter-4-avg-3", 1, 4),
    ):
        found = load_for_decoding(tmp_path, selection)
        assert found.name == name
        torch.testing.assert_close(found.network.state_dict()[key], mean(first, last), rtol=1e-6, atol=1e-7)


def test_the_average_continues_after_a_restart(tmp_path, toy_argv):
    main(toy_argv(tmp_path / "whole", average_period=2))
    main(toy_argv(tmp_path / "parts", average_period=2, max_updates=3))
    main(toy_argv(tmp_path / "parts", average_period=2))
    one, two = (load_checkpoint(tmp_path / name / "epoch-2.pt")["average"] for name in ("whole", "parts"))
    assert one["count"] == two["count"] > 1
    assert all(torch.equal(value, two["mean"][name]) for name, value in one["mean"].items())


@pytest.mark.parametrize(
    "selection, words",
    [
        (Selection(use_averaged_model=True), "no snapshot of the weights for --use-averaged-model"),
        (Selection(iter=3, avg=4), "only 3 checkpoint-N.pt up to 3 are kept"),
    ],
)
def test_what_cannot_be_averaged_is_said(tmp_path, toy_argv, selection, words):
    main(toy_argv(tmp_path, num_epochs=1, average_period=0, save_every_n=1, keep_last_k=9))
    with pytest.raises(UserError, match=words):
        load_for_decoding(tmp_path, selection)


def test_best_is_not_combined():
    with pytest.raises(ValueError, match="--best goes neither"):
        Selection(best=2, use_averaged_model=True)
