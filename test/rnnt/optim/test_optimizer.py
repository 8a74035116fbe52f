"""The optimizer that the options name, and clipping."""

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint, save_checkpoint
from rnnt.optim.config import AdamWConfig, LambConfig
from rnnt.optim.optimizer import clip_gradients, make_optimizer
from rnnt.train import main


def model_with_gradient(norm):
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    for p in model.parameters():
        p.grad = torch.full_like(p, norm / 15**0.5)
    return model


def test_gradients_are_clipped_once():
    """Before the step for AdamW, within it for LAMB; the norm is that before clipping."""
    for name, before_step in (("adamw", 2.0), ("lamb", 10.0)):
        config = {"adamw": AdamWConfig, "lamb": LambConfig}[name](clip_norm=2.0)
        model = model_with_gradient(10.0)
        assert clip_gradients(model.parameters(), config).item() == pytest.approx(10.0)
        left = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
        assert left == pytest.approx(before_step, rel=1e-5)
        make_optimizer(model, config).step()
        left = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item()
        assert left == pytest.approx(2.0, rel=1e-5)


def test_a_small_gradient_is_left_alone():
    model = model_with_gradient(1.0)
    clip_gradients(model.parameters(), AdamWConfig(clip_norm=2.0))
    assert all(torch.equal(p.grad, torch.full_like(p, 1 / 15**0.5)) for p in model.parameters())


def test_options_reach_the_optimizer():
    model = torch.nn.Linear(4, 3)
    lamb = make_optimizer(model, LambConfig(beta1=0.8, beta2=0.9, eps=1e-9, weight_decay=0.5))
    (group,) = lamb.param_groups
    assert len(group["params"]) == 2 and group["betas"] == (0.8, 0.9)
    assert (group["eps"], group["weight_decay"]) == (1e-9, 0.5)
    decays = [g["weight_decay"] for g in make_optimizer(model, AdamWConfig(weight_decay=0.5)).param_groups]
    assert decays == [0.5, 0.0]


@pytest.mark.parametrize("optimizer, schedule", [("lamb", "hold"), ("scaled_adam", "eden")])
def test_a_stopped_run_continues_as_if_it_had_not_been(optimizer, schedule, tmp_path, toy_argv):
    options = {"optimizer": optimizer, "schedule": schedule, "num_epochs": 1}
    if schedule == "hold":
        options["warmup_epochs"] = 0.5
    main(toy_argv(tmp_path / "whole", **options))
    main(toy_argv(tmp_path / "parts", max_updates=3, **options))
    assert not (tmp_path / "parts" / "epoch-1.pt").exists()
    main(toy_argv(tmp_path / "parts", **options))
    whole, parts = (load_checkpoint(tmp_path / name / "epoch-1.pt") for name in ("whole", "parts"))
    assert all(torch.equal(value, parts["model"][name]) for name, value in whole["model"].items())
    assert whole["optimizer"]["param_groups"] == parts["optimizer"]["param_groups"]


def test_a_checkpoint_of_the_scaled_adam_before_is_refused(tmp_path, toy_argv, capsys):
    options = {"optimizer": "scaled_adam", "schedule": "eden", "num_epochs": 1}
    main(toy_argv(tmp_path / "exp", max_updates=2, **options))
    path = tmp_path / "exp" / "checkpoint-2.pt"
    state = load_checkpoint(path)
    state["optimizer"]["param_groups"][0] = {
        "lr": 0.03, "betas": (0.9, 0.98), "eps": 1e-8, "scale_lr": 0.1, "clip_scale": 2.0, "min_rms": 1e-3,
        "max_rms": 3.0, "step": 2, "params": state["optimizer"]["param_groups"][0]["params"],
    }  # fmt: skip
    save_checkpoint(path, state)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", **options))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(path) in line and "--init-from" in line and "ScaledAdam" in line
