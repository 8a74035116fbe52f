"""Gradients: of several ranks they add up, and a micro-batch that does not fit gives the same in sub-batches."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.data.dataset import open_batches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.model.config import ModelConfig
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.text.tokenizer import Tokenizer
from rnnt.train import main
from rnnt.training.config import LossConfig
from rnnt.training.gradients import forward_backward_with_oom_split, is_out_of_memory


@pytest.fixture
def model(toy):
    """A model without dropout and without layers that normalise over the batch."""
    torch.manual_seed(0)
    config = make(
        ModelConfig,
        encoder="stacked_lstm", encoder_dim=12, encoder_layers=2, layers_before_stacking=1, predictor="lstm",
        predictor_dim=8, joiner_dim=8, dropout=0.0, num_features=8,
        vocab_size=Tokenizer.load(toy / "bpe.model").vocab_size,
    )  # fmt: skip
    return TrainingModel(Transducer(config), make(LossConfig, loss="full").loss).double()


@pytest.fixture
def batches(toy):
    """Two micro-batches of the toy data."""
    manifest = CutManifest(toy / "train.jsonl")
    found = list(open_batches(manifest, open_feature_loader(manifest), 12, Tokenizer.load(toy / "bpe.model")))[:2]
    found = [batch.part(slice(0, size)) for batch, size in zip(found, (5, 4))]
    for batch in found:
        batch.x_BTF = batch.x_BTF.double()
    return found


def gradients_of(model, batches, largest):
    """Gradients when no more than `largest` utterances fit: memory ends in the middle of the backward pass."""
    now = []

    def check(grad):
        if len(now[-1]) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = next(model.network.encoder.parameters()).register_hook(check)
    model.zero_grad()

    def compute(piece, is_last):
        batch = piece.batch
        now.append(batch)
        model(Utterances(batch.x_BTF, batch.x_len_B, batch.y_BS, batch.y_len_B), 0).total.backward()

    done = forward_backward_with_oom_split(batches, compute, model.zero_grad, logging.getLogger("test"))
    hook.remove()
    return {name: p.grad.clone() for name, p in model.named_parameters()}, [piece for piece, _ in done]


@pytest.mark.parametrize("largest", [99, 3, 1])
def test_gradient_of_sub_batches_is_that_of_the_batches(model, batches, largest):
    whole, _ = gradients_of(model, batches, 10**6)
    parts, sub_batches = gradients_of(model, batches, largest)
    assert all(len(s.batch) <= largest for s in sub_batches)
    assert [i for s in sub_batches for i in s.batch.ids] == [i for batch in batches for i in batch.ids]
    assert len({(s.batch.position, s.path) for s in sub_batches}) == len(sub_batches)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-9)


def test_an_utterance_that_does_not_fit_is_named_and_left_out(model, batches, caplog):
    victim = batches[1].ids[1]

    def compute(piece, is_last):
        if victim in piece.batch.ids:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with caplog.at_level(logging.WARNING):
        done = forward_backward_with_oom_split(batches, compute, lambda: None, logging.getLogger("test"))
    left = [i for piece, _ in done for i in piece.batch.ids]
    assert left == [i for batch in batches for i in batch.ids if i != victim]
    assert f"utterance {victim} " in caplog.text and "is left out" in caplog.text
    assert "is computed in two halves; lower --max-duration" in caplog.text


def test_other_errors_are_no_lack_of_memory(model, batches):
    def compute(piece, is_last):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        forward_backward_with_oom_split(batches, compute, lambda: None, logging.getLogger("test"))
    assert not is_out_of_memory(ValueError("out of memory")) and is_out_of_memory(RuntimeError("CUDA: Out of Memory"))


LIMIT = """
import os, sys, torch
from rnnt.model.objectives.base import TrainingModel
from rnnt.train import main

forward = TrainingModel.forward

def limited(self, utterances, *arguments):
    # The second rank has less memory than the first, or none at all.
    if os.environ["RANK"] == "1" and len(utterances.x_BTF) > int(os.environ["LARGEST"]):
        raise torch.OutOfMemoryError("CUDA out of memory")
    return forward(self, utterances, *arguments)

TrainingModel.forward = limited
if __name__ == "__main__":
    main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("largest", [3, 0])
def test_ranks_stay_in_step_when_one_has_less_memory(tmp_path, toy_argv, largest):
    (tmp_path / "limited.py").write_text(LIMIT)
    argv = toy_argv(tmp_path / "exp", world_size=2, num_epochs=1)
    environment = {**os.environ, "LARGEST": str(largest)}
    process = subprocess.run(
        [sys.executable, str(tmp_path / "limited.py"), *argv], capture_output=True, text=True, env=environment,
        timeout=200,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "is computed in two halves" in process.stdout
    assert ("is left out" in process.stdout) == (largest == 0)
    state = load_checkpoint(tmp_path / "exp" / "epoch-1.pt")
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_an_update_of_which_nothing_fits_changes_nothing_and_training_continues(
    tmp_path, toy_argv, monkeypatch, capsys
):
    def forward(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainingModel, "forward", forward)
    main(toy_argv(tmp_path, num_epochs=1, max_updates=1))
    assert "is left out" in capsys.readouterr().out
    assert (tmp_path / "checkpoint-1.pt").exists()
