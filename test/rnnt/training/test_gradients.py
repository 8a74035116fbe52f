"""Gradients: of several ranks they add up, and a micro-batch that does not fit gives the same in pieces."""

import logging
import os
import subprocess
import sys

import pytest
import torch

from rnnt.data.dataset import open_batches
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.model.transducer import Transducer
from rnnt.text.tokenizer import Tokenizer
from rnnt.train import main
from rnnt.training import gradients
from rnnt.training.checkpoint import load_checkpoint
from rnnt.training.gradients import compute_in_pieces, is_out_of_memory, sum_over_ranks


class Doubled:
    """A world of two ranks that hold the same gradients."""

    size = 2

    def start_all_reduce(self, tensor):
        tensor.mul_(2)
        return self

    def wait(self):
        pass


@pytest.mark.parametrize("bucket", [1, 7, 1000])
def test_every_gradient_is_summed_in_place(monkeypatch, bucket):
    monkeypatch.setattr(gradients, "BUCKET", bucket)
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(5)), torch.nn.Parameter(
        torch.zeros(4, dtype=torch.float64))]  # fmt: skip
    frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    for p in parameters[:1] + parameters[2:]:
        p.grad = torch.arange(p.numel(), dtype=p.dtype).view_as(p)
    sum_over_ranks([*parameters, frozen], Doubled())
    for p in (parameters[0], parameters[2]):
        assert torch.equal(p.grad, 2 * torch.arange(p.numel(), dtype=p.dtype).view_as(p))
    assert torch.equal(parameters[1].grad, torch.zeros(5)) and frozen.grad is None


@pytest.fixture
def model(toy):
    """A model without dropout and without layers that normalise over the batch."""
    torch.manual_seed(0)
    config = ModelConfig(
        encoder="stacked_lstm", encoder_dim=12, encoder_layers=2, layers_before_stacking=1, predictor="lstm",
        predictor_dim=8, joiner_dim=8, dropout=0.0, num_features=8,
        vocab_size=Tokenizer.load(toy / "bpe.model").vocab_size,
    )  # fmt: skip
    return Transducer(config, LossConfig(loss="full")).double()


@pytest.fixture
def batches(toy):
    """Two micro-batches of the toy data."""
    found = list(open_batches(toy / "train.jsonl", 12, Tokenizer.load(toy / "bpe.model")))[:2]
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

    hook = next(model.encoder.parameters()).register_hook(check)
    model.zero_grad()

    def compute(piece):
        batch = piece.batch
        now.append(batch)
        model(batch.x_BTF, batch.x_len_B, batch.y_BS, batch.y_len_B).total.backward()

    done = compute_in_pieces(batches, compute, model.zero_grad, logging.getLogger("test"))
    hook.remove()
    return {name: p.grad.clone() for name, p in model.named_parameters()}, [piece for piece, _ in done]


@pytest.mark.parametrize("largest", [99, 3, 1])
def test_gradient_of_pieces_is_that_of_the_whole(model, batches, largest):
    whole, _ = gradients_of(model, batches, 10**6)
    parts, pieces = gradients_of(model, batches, largest)
    assert all(len(piece.batch) <= largest for piece in pieces)
    assert [i for piece in pieces for i in piece.batch.ids] == [i for batch in batches for i in batch.ids]
    assert len({(piece.batch.position, piece.path) for piece in pieces}) == len(pieces)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-9)


def test_an_utterance_that_does_not_fit_is_named_and_left_out(model, batches, caplog):
    victim = batches[1].ids[1]

    def compute(piece):
        if victim in piece.batch.ids:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with caplog.at_level(logging.WARNING):
        done = compute_in_pieces(batches, compute, lambda: None, logging.getLogger("test"))
    left = [i for piece, _ in done for i in piece.batch.ids]
    assert left == [i for batch in batches for i in batch.ids if i != victim]
    assert f"utterance {victim} " in caplog.text and "is left out" in caplog.text
    assert "is computed in two halves; lower --max-duration" in caplog.text


def test_other_errors_are_no_lack_of_memory(model, batches):
    def compute(piece):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        compute_in_pieces(batches, compute, lambda: None, logging.getLogger("test"))
    assert not is_out_of_memory(ValueError("out of memory")) and is_out_of_memory(RuntimeError("CUDA: Out of Memory"))


LIMIT = """
import os, sys, torch
from rnnt.model.transducer import Transducer
from rnnt.train import main

forward = Transducer.forward

def limited(self, x_BTF, *arguments):
    # The second rank has less memory than the first, or none at all.
    if os.environ["RANK"] == "1" and len(x_BTF) > int(os.environ["LARGEST"]):
        raise torch.OutOfMemoryError("CUDA out of memory")
    return forward(self, x_BTF, *arguments)

Transducer.forward = limited
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


def test_an_update_of_which_nothing_fits_changes_nothing_and_training_goes_on(tmp_path, toy_argv, monkeypatch, capsys):
    def forward(self, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Transducer, "forward", forward)
    main(toy_argv(tmp_path, num_epochs=1, max_updates=1))
    assert "is left out" in capsys.readouterr().out
    assert (tmp_path / "checkpoint-1.pt").exists()
