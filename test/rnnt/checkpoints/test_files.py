"""Checkpoints are whole or absent, plain, and kept by rule."""

import resource

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint, newest_checkpoint, numbered, remove_old, save_checkpoint
from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError
from rnnt.model.config import ModelConfig
from rnnt.options import to_dict
from rnnt.training.experiment import check_compatible


def whole(epoch, batch, step):
    """A checkpoint that holds all that one must hold."""
    return {
        "model": {"x": torch.ones(2)}, "objectives": {}, "optimizer": {"state": {}, "param_groups": []}, "scaler": {},
        "position": {"epoch": epoch, "batch": batch, "step": step},
        "fingerprint": {"config": {"model": {}, "features": {}}, "losses": [], "tokenizer": "", "plan": ""},
    }  # fmt: skip


def touch(folder, *names):
    for name in names:
        kind, number = name.removesuffix(".pt").split("-")
        at = (3, 1, int(number)) if kind == "checkpoint" else (int(number) + 1 if number.isdigit() else 1, 0, 0)
        save_checkpoint(folder / name, whole(*at))


def test_round_trip_without_pickled_code(tmp_path):
    state = {"w": torch.arange(3), "position": {"epoch": 2}, "name": "n", "list": [1, 2.5, None]}
    save_checkpoint(tmp_path / "a.pt", state)
    again = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(again["w"], state["w"]) and again["position"] == {"epoch": 2} and again["list"] == [1, 2.5, None]


def test_full_disk_keeps_the_old_checkpoint(tmp_path):
    """A limit on the size of files stands in for the full disk: the write fails half-way."""
    path = tmp_path / "epoch-1.pt"
    save_checkpoint(path, {"x": torch.ones(2)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, hard))
    try:
        with pytest.raises(UserError, match=r"epoch-1.pt: can't write .*kept"):
            save_checkpoint(path, {"x": torch.ones(100000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(path)["x"].numel() == 2
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-1.pt"]


def test_unreadable_checkpoints_are_named(tmp_path):
    with pytest.raises(UserError, match="x.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="x.pt: not a readable checkpoint"):
        load_checkpoint(tmp_path / "x.pt")


def test_newest_readable_one_is_found(tmp_path):
    assert newest_checkpoint(tmp_path, print) is None
    touch(tmp_path, "epoch-1.pt", "checkpoint-20.pt", "epoch-2.pt")
    (tmp_path / "checkpoint-30.pt").write_bytes(b"half")
    warnings = []
    path, _ = newest_checkpoint(tmp_path, warnings.append)
    assert path.name == "checkpoint-20.pt" and "checkpoint-30.pt" in warnings[0]


def test_numbers_sort_as_numbers(tmp_path):
    touch(tmp_path, "epoch-2.pt", "epoch-10.pt", "epoch-x.pt")
    assert list(numbered(tmp_path, "epoch")) == [2, 10]


def test_what_is_kept(tmp_path):
    touch(tmp_path, *[f"epoch-{n}.pt" for n in range(1, 9)], *[f"checkpoint-{n}.pt" for n in (10, 20, 30)])
    remove_old(tmp_path, 2, 2, 2, {1: 9.0, 2: 1.0, 3: 5.0, 4: 1.0, 5: 7.0})
    assert list(numbered(tmp_path, "epoch")) == [2, 4, 7, 8]
    assert list(numbered(tmp_path, "checkpoint")) == [20, 30]
    remove_old(tmp_path, 2, 0, 0, {})
    assert list(numbered(tmp_path, "epoch")) == [2, 4, 7, 8]


def test_a_checkpoint_from_before_an_option_still_fits():
    """It was made with what is the option's default now."""
    model, features = to_dict(ModelConfig(vocab_size=7)), to_dict(FeatureConfig())
    parts = {"tokenizer": "x", "losses": [], "plan": "y"}
    joiner = {name: value for name, value in model["joiner"].items() if name != "joiner_dropout"}
    older = {**model, "joiner": joiner}
    stored = {"config": {"model": older, "features": features}, **parts}
    check_compatible("old.pt", stored, {"config": {"model": model, "features": features}, **parts})
    other = {**model, "joiner": {**joiner, "joiner_dropout": 0.2}}
    with pytest.raises(UserError, match=r"joiner_dropout is 0.0 in the checkpoint and 0.2 now"):
        check_compatible("old.pt", stored, {"config": {"model": other, "features": features}, **parts})
