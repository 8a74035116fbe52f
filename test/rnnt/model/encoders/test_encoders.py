"""What every encoder keeps: padding and company change nothing, lengths are right, each parameter learns."""

import re
from dataclasses import fields

import pytest
import torch

from rnnt.model.config import JoinerConfig, ModelConfig, StatelessConfig
from rnnt.model.encoders import ENCODERS
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.transducer import Transducer
from rnnt.options import make as make_config
from rnnt.training.config import LossConfig

FACTORS = {"stacked_lstm": [2, 6], "zipformer": [4]}
KINDS = [(kind, factor) for kind in ENCODERS for factor in FACTORS.get(kind, [4, 8])]
# Sizes of their own, and parameters that are never used.
ZIPFORMER = {
    "encoder_dim": [16, 12, 20], "downsampling_factor": [1, 2, 4], "num_encoder_layers": [1, 2, 1],
    "feedforward_dim": [32], "num_heads": [2], "encoder_unmasked_dim": [12], "cnn_module_kernel": [5],
    "query_head_dim": [4], "pos_dim": 8,
}  # fmt: skip
UNUSED = re.compile(r"layers\.\d+\.bypass_scale$")


def make(kind, factor, **changes):
    torch.manual_seed(0)
    sizes = {"encoder_dim": 16, "encoder_layers": 3, "encoder_hidden_dim": 24, "feedforward_dim": 32, "conv_kernel": 5,
             "attention_heads": 2, "subsampling_channels": 4, "predictor_dim": 12, "joiner_dim": 10, "num_features": 9,
             "vocab_size": 7, "dropout": 0.1}  # fmt: skip
    sizes.update(ZIPFORMER if kind == "zipformer" else {})
    known = {f.name for cls in (ENCODERS.config(kind), StatelessConfig, JoinerConfig, ModelConfig) for f in fields(cls)}
    sizes = {name: value for name, value in sizes.items() if name in known}
    return Transducer(make_config(ModelConfig, **{**sizes, "encoder": kind, "subsampling_factor": factor, **changes}))


@pytest.mark.parametrize("kind, factor", KINDS)
def test_padding_and_company_change_nothing(kind, factor):
    model = make(kind, factor).eval()
    with torch.no_grad():  # statistics of other values than 0 and 1, so that padding would show
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    lengths = torch.tensor([61, 97, 1, 80])
    x_BTF = torch.randn(4, 97, 9)
    with torch.no_grad():
        h_BTD, h_len_B = model.encode(torch.nn.functional.pad(x_BTF, (0, 0, 0, 40), value=1e3), lengths)
        assert h_len_B.tolist() == model.encoded_lengths(lengths).tolist()
        if kind != "zipformer":  # which pads nothing
            assert h_len_B.tolist() == [-(-n // factor) for n in lengths]
        for i, n in enumerate(lengths):
            alone_BTD, _ = model.encode(x_BTF[i : i + 1, :n], lengths[i : i + 1])
            torch.testing.assert_close(h_BTD[i, : h_len_B[i]], alone_BTD[0], atol=2e-5, rtol=1e-4)
            assert not h_BTD[i, h_len_B[i] :].any()


@pytest.mark.parametrize("kind, factor", KINDS)
def test_gradients_do_not_see_padding(kind, factor):
    """In training too: statistics and gradients are those of the valid frames alone."""
    model = make(kind, factor, dropout=0.0).train()
    lengths = torch.tensor([61, 97])
    x_BTF = torch.randn(2, 97, 9)
    grads = []
    for junk in (0.0, 1e3):
        x = x_BTF.clone()
        x[0, 61:] = junk
        x = torch.nn.functional.pad(x, (0, 0, 0, 24), value=junk)
        model.zero_grad()
        torch.manual_seed(0)
        h_BTD, _ = model.encode(x, lengths)
        (h_BTD * torch.linspace(-1, 1, h_BTD.shape[2])).square().sum().backward()
        grads.append({name: p.grad.clone() for name, p in model.encoder.named_parameters() if not UNUSED.search(name)})
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name], msg=name)


@pytest.mark.parametrize("kind, factor", KINDS)
def test_every_parameter_gets_a_gradient(kind, factor):
    model = make(kind, factor).train()
    batch = torch.randn(2, 60, 9), torch.tensor([60, 45]), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    TrainingModel(model, LossConfig().loss)(Utterances(*batch), 0).total.backward()
    for name, p in model.encoder.named_parameters():
        if UNUSED.search(name):
            continue
        assert torch.isfinite(p.grad).all() and p.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind, factor", KINDS)
def test_half_precision_stays_near(kind, factor, skip_without_bf16):
    if "lstm" in kind:
        skip_without_bf16()
    model = make(kind, factor).eval()
    x_BTF, lengths = torch.randn(2, 60, 9), torch.tensor([60, 45])
    whole_BTD, _ = model.encode(x_BTF, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        half_BTD, _ = model.encode(x_BTF, lengths)
        half_BTD.float().square().sum().backward()
    assert (half_BTD.float() - whole_BTD).norm() < 0.05 * whole_BTD.norm()


def test_sizes_that_do_not_fit_are_refused():
    for kind, changes in (
        ("conformer", {"attention_heads": 3}),
        ("conformer", {"conv_kernel": 4}),
        ("conformer", {"encoder_bidirectional": True}),
        ("conformer", {"factor": 6}),
        ("deep_lstm", {"encoder_hidden_dim": 16}),
        ("stacked_lstm", {"layers_before_stacking": 3}),
    ):
        with pytest.raises(ValueError, match="--"):
            make(kind, **{"factor": 4, **changes})
