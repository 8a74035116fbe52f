"""LoRA, adapters and frozen parts: what learns, what stays bit for bit, resume, and the model that comes out."""

import re

import pytest
import torch
from torch import nn

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint
from rnnt.checkpoints.model_dir import read_model_dir
from rnnt.errors import UserError
from rnnt.export_model import main as export
from rnnt.model.encoders.adapter import adapters
from rnnt.model.low_rank import is_named
from rnnt.train import main
from rnnt.training.observers import Observer


class Kept(Observer):
    """The trainer, to look at its model afterwards."""

    def run_start(self, trainer):
        self.trainer = trainer


def test_only_lora_and_what_is_listed_learn(tmp_path, toy_argv, train_watched):
    base = tmp_path / "base"
    main(toy_argv(base, num_epochs=1))
    options = {"init_from": base, "lora_rank": 2, "train_modules": "joiner", "base_lr": 0.01}
    kept = Kept()
    train_watched(toy_argv(tmp_path / "exp", average_period=1, **options), kept)
    before = load_checkpoint(base / "epoch-1.pt")
    after = load_checkpoint(tmp_path / "exp" / "epoch-2.pt")
    for name, value in after["model"].items():
        if "lora" in name:
            if name.endswith("lora_B"):
                assert value.abs().max() > 0, name
            continue
        was = before["model"][name.replace("parametrizations.", "").removesuffix(".original")]
        assert torch.equal(value, was) != name.startswith("joiner."), name
    for name, value in after["objectives"].items():
        assert torch.equal(value, before["objectives"][name]), name

    main(toy_argv(tmp_path / "parts", average_period=1, max_updates=3, **options))
    main(toy_argv(tmp_path / "parts", average_period=1, **options))
    two = load_checkpoint(tmp_path / "parts" / "epoch-2.pt")
    assert all(torch.equal(value, two["model"][name]) for name, value in after["model"].items())

    with pytest.raises(UserError, match="lora_rank is 2 in the checkpoint and 3 now"):
        train_watched(toy_argv(tmp_path / "parts", average_period=1, **{**options, "lora_rank": 3}))

    network = load_for_decoding(tmp_path / "exp", Selection()).network
    assert not any("lora" in name for name in network.state_dict())
    x_BTF, x_len_B = torch.randn(2, 90, network.config.num_features), torch.tensor([90, 70])
    with torch.no_grad():
        unmerged = kept.trainer.model.network.eval().encode(x_BTF, x_len_B)[0]
        torch.testing.assert_close(network.encode(x_BTF, x_len_B)[0], unmerged, rtol=1e-5, atol=1e-5)
    export(["--exp-dir", str(tmp_path / "exp"), "--use-averaged-model", "true", "--out", str(tmp_path / "model")])
    assert set(read_model_dir(tmp_path / "model").network.state_dict()) == set(network.state_dict())


def test_lora_without_trained_weights_or_of_no_layer_is_refused(tmp_path, toy_argv, train_watched):
    with pytest.raises(UserError, match="give --init-from as well"):
        train_watched(toy_argv(tmp_path / "exp", lora_rank=2))


ZIPFORMER = {
    "encoder": "zipformer", "num_encoder_layers": "1 1", "downsampling_factor": "1 2", "encoder_dim": "16",
    "encoder_unmasked_dim": "12", "feedforward_dim": "16", "num_heads": "2", "cnn_module_kernel": "3",
    "query_head_dim": "4", "causal": "true", "chunk_size": "4 8 -1", "left_context_frames": "8 -1",
}  # fmt: skip
CONFORMER = {"encoder": "conformer", "attention_heads": 2, "feedforward_dim": 20, "conv_kernel": 5}


class Drawn(Kept):
    """The trainer, and the chunks of the first epoch."""

    def run_start(self, trainer):
        super().run_start(trainer)
        self.sizes = set()
        draw = getattr(trainer.model.network.encoder, "chunk_draw", None)
        if draw is not None:
            draw.register_forward_hook(lambda module, inputs, chunks: self.sizes.add(chunks.size))


@pytest.mark.parametrize(
    "encoder",
    [ZIPFORMER, {"encoder": "lstm"}, pytest.param(CONFORMER, marks=pytest.mark.slow)],
    ids=["zipformer", "lstm", "conformer"],
)
def test_only_adapters_and_what_is_listed_learn(tmp_path, toy_argv, train_watched, encoder, capsys):
    base, exp = tmp_path / "base", tmp_path / "exp"
    main(toy_argv(base, num_epochs=1, **encoder))
    options = {**encoder, "init_from": base, "adapter_dim": 4, "base_lr": 0.01, "average_period": 1}
    listed = [] if encoder is ZIPFORMER else ["joiner"]
    options.update({"train_modules": listed[0]} if listed else {})
    kept = Drawn()
    train_watched(toy_argv(exp, **options), kept)
    model = kept.trainer.model
    names = adapters(model)
    assert f"with {len(names)} adapter" in capsys.readouterr().out
    before, after = load_checkpoint(base / "epoch-1.pt"), load_checkpoint(exp / "epoch-2.pt")
    for name, value in after["model"].items():
        if not is_named(f"network.{name}", names):  # statistics of batch normalisation among them
            assert torch.equal(value, before["model"][name]) != is_named(name, listed), name
    new = [value for name, value in after["model"].items() if name.endswith("out_proj.bias") and "adapter" in name]
    assert len(new) == len(names) and all(value.abs().max() > 0 for value in new)
    assert all(torch.equal(value, before["objectives"][name]) for name, value in after["objectives"].items())

    model.train()
    training = {name for name, module in model.named_modules() if module.training}
    of_losses = {f"objectives.{name}" for name in model.objectives}
    expected = {name for name, _ in model.named_modules() if is_named(name, [*names, *listed])} | of_losses
    recurrent = {name for name, module in model.named_modules() if isinstance(module, nn.LSTM)}
    assert training == expected | recurrent | ({"network.encoder.chunk_draw"} if encoder is ZIPFORMER else set())
    if encoder is ZIPFORMER:
        assert kept.sizes == {4, 8, -1}  # a frozen encoder learns for all its chunks

    # Bit for bit, stopped in between.
    main(toy_argv(tmp_path / "parts", max_updates=3, **options))
    main(toy_argv(tmp_path / "parts", **options))
    parts = load_checkpoint(tmp_path / "parts" / "epoch-2.pt")
    assert all(torch.equal(value, parts["model"][name]) for name, value in after["model"].items())
    with pytest.raises(UserError, match="adapter_dim is 4 in the checkpoint and 5 now"):
        train_watched(toy_argv(tmp_path / "parts", **{**options, "adapter_dim": 5}))

    # What comes out, also averaged; and the old encoder, with the statistics that it had.
    x_BTF, x_len_B = torch.randn(2, 90, 8), torch.tensor([90, 70])
    network = load_for_decoding(exp, Selection()).network
    with torch.no_grad():
        wanted = model.network.eval().encode(x_BTF, x_len_B)[0]
        assert torch.equal(network.encode(x_BTF, x_len_B)[0], wanted)
        old = load_for_decoding(base, Selection()).network.encode(x_BTF, x_len_B)[0]
        assert not torch.equal(old, wanted)
        for selection in (Selection(use_adapters=False), Selection(use_adapters=False, use_averaged_model=True, avg=2)):
            found = load_for_decoding(exp, selection)
            assert torch.equal(found.network.encode(x_BTF, x_len_B)[0], old) and "without-adapters" in found.name
    export(["--exp-dir", str(exp), "--use-averaged-model", "true", "--out", str(tmp_path / "model")])
    exported = read_model_dir(tmp_path / "model").network
    assert set(exported.state_dict()) == set(network.state_dict())
    export(["--exp-dir", str(exp), "--use-adapters", "false", "--out", str(tmp_path / "old")])
    assert not adapters(read_model_dir(tmp_path / "old").network)
    if encoder is not ZIPFORMER:
        return

    # A model with adapters is where another training begins, and that is never one without them.
    first = Kept()
    train_watched(toy_argv(tmp_path / "more", **{**options, "init_from": tmp_path / "model", "num_epochs": 1}), first)
    capsys.readouterr()
    with pytest.raises(UserError, match="adapter_dim is 4 there and 0 here"):
        train_watched(toy_argv(tmp_path / "none", **{**options, "init_from": tmp_path / "model", "adapter_dim": 0}))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"adapter_dim": 2}, "--lora-rank, --adapter-dim and --train-modules are for fine-tuning: give --init-from"),
        ({"adapter_dim": 2, "lora_rank": 2, "init_from": "base"}, "--adapter-dim and --lora-rank exclude each other"),
        (
            {"adapter_dim": 2, "encoder": "stacked_lstm", "encoder_layers": 3},
            "--adapter-dim: this is an option of --enc",
        ),
        ({"adapter_dim": -1}, "--adapter-dim: must be at least 0"),
        ({"adapter_dim": 10**12}, "the model is too large"),
    ],
)
def test_adapters_that_can_not_be_are_one_line(tmp_path, toy_argv, capsys, options, message):
    if "init_from" in options:
        options = {**options, "init_from": tmp_path / "base"}
        main(toy_argv(tmp_path / "base", num_epochs=1))
        capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(toy_argv(tmp_path / "exp", **options))
    error = capsys.readouterr().err
    assert ended.value.code and re.search(message, error) and len(error.strip().splitlines()) == 1, error
    assert not list((tmp_path / "exp").glob("*.pt"))


def test_a_model_without_adapters_can_not_leave_them_out(tmp_path, toy_argv):
    main(toy_argv(tmp_path / "exp", num_epochs=1))
    with pytest.raises(UserError, match="--use-adapters false, but the model has none"):
        load_for_decoding(tmp_path / "exp", Selection(use_adapters=False))
