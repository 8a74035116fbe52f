"""Adapters in every encoder that has them: they begin as nothing and see no padding (chunks: test_streaming.py)."""

import pytest
import torch

from rnnt.model.config import ModelConfig
from rnnt.model.encoders.adapter import Adapter, adapters, without_adapters
from rnnt.model.transducer import Transducer
from rnnt.optim.scaled_adam import ScaledAdam
from rnnt.options import make

ZIPFORMER = {
    "num_encoder_layers": [1, 2], "downsampling_factor": [1, 2], "encoder_dim": [16, 24], "encoder_unmasked_dim": [16],
    "feedforward_dim": [32], "num_heads": [2], "cnn_module_kernel": [7], "query_head_dim": [8],
}  # fmt: skip
STACK = {"encoder_dim": 16, "encoder_layers": 2, "subsampling_channels": 4}
KINDS = {
    "zipformer": {"encoder": "zipformer", **ZIPFORMER},
    "lstm": {"encoder": "lstm", "encoder_bidirectional": True, **STACK},
    "deep_lstm": {"encoder": "deep_lstm", "encoder_hidden_dim": 24, "feedforward_dim": 20, **STACK},
    "conformer": {"encoder": "conformer", "attention_heads": 2, "feedforward_dim": 20, "conv_kernel": 7, **STACK},
}
PER_LAYER = {"zipformer": 4 * 3, "lstm": 2, "deep_lstm": 2, "conformer": 2}


def make_network(kind, adapter_dim=6, **changes):
    torch.manual_seed(0)
    sizes = {"predictor_dim": 12, "joiner_dim": 10, "num_features": 20, "vocab_size": 7}
    return Transducer(make(ModelConfig, **{**sizes, **KINDS[kind], "adapter_dim": adapter_dim, **changes})).eval()


def trained(network):
    """The network with adapters that change what it gives."""
    for module in network.modules():
        if isinstance(module, Adapter):
            torch.nn.init.normal_(module.out_proj.weight, std=0.3)
            torch.nn.init.normal_(module.out_proj.bias, std=0.3)
    return network


@pytest.mark.parametrize("inner", [1, 5, 16])
def test_an_adapter_is_what_its_formula_says_and_nothing_at_first(inner):
    torch.manual_seed(0)
    adapter, x_BTD = Adapter(12, inner), torch.randn(3, 9, 12)
    torch.testing.assert_close(adapter(x_BTD), x_BTD)
    if inner > 1:
        assert adapter.out_proj.weight.abs().max() > 0.1  # which ScaledAdam needs
    torch.nn.init.normal_(adapter.out_proj.weight)
    torch.nn.init.normal_(adapter.out_proj.bias)
    (w1, b1), (w2, b2) = adapter.in_proj.parameters(), adapter.out_proj.parameters()
    h_BTN = x_BTD @ w1.T + b1
    h_BTN = torch.log(1 + torch.exp(h_BTN - 4)) - 0.08 * h_BTN - 0.035
    torch.testing.assert_close(adapter(x_BTD), x_BTD + h_BTN @ w2.T + b2)


def loss_after(updates, adapter, lr):
    """Of a small change of x that is to be learnt, by ScaledAdam; at first it is about 1."""
    torch.manual_seed(0)
    optimizer, change = ScaledAdam(adapter.parameters(), lr=lr), 0.3 * torch.randn(12, 12)
    for _ in range(updates):
        x_BTD = torch.randn(4, 20, 12)
        loss = (adapter(x_BTD) - x_BTD - x_BTD @ change).square().mean() / change.square().sum() * 12
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_scaled_adam_trains_new_adapters_at_once_and_hardly_any_that_begin_with_zeros():
    torch.manual_seed(0)
    adapter, zeros = Adapter(12, 16), Adapter(12, 16)
    torch.nn.init.zeros_(zeros.out_proj.weight)
    assert loss_after(600, adapter, 0.0045) < 0.5 < 0.95 < loss_after(600, zeros, 0.0045)


@pytest.mark.parametrize("kind", KINDS)
def test_new_adapters_and_none_give_the_same(kind):
    network, x_BTF, x_len_B = make_network(kind), torch.randn(2, 97, 20), torch.tensor([97, 80])
    plain = make_network(kind, adapter_dim=0)
    assert len(adapters(network)) == PER_LAYER[kind] and not adapters(plain)
    weights = network.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    with torch.no_grad():
        before = plain.encode(x_BTF, x_len_B)[0]
        torch.testing.assert_close(network.encode(x_BTF, x_len_B)[0], before, atol=1e-5, rtol=1e-5)
        assert (trained(network).encode(x_BTF, x_len_B)[0] - before).abs().max() > 0.01
        assert torch.equal(without_adapters(network).encode(x_BTF, x_len_B)[0], before)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_company_change_nothing(kind):
    network = trained(make_network(kind))
    lengths, x_BTF = torch.tensor([61, 97, 80]), torch.randn(3, 97, 20)
    with torch.no_grad():
        h_BTD, h_len_B = network.encode(torch.nn.functional.pad(x_BTF, (0, 0, 0, 40), value=1e3), lengths)
        for i, n in enumerate(lengths):
            alone_BTD, _ = network.encode(x_BTF[i : i + 1, :n], lengths[i : i + 1])
            torch.testing.assert_close(h_BTD[i, : h_len_B[i]], alone_BTD[0], atol=2e-5, rtol=1e-4)
            assert not h_BTD[i, h_len_B[i] :].any()


def test_as_many_numbers_as_in_icefall():
    """761,344 of the medium Zipformer learn there."""
    with torch.device("meta"):
        model = Transducer(make(ModelConfig, encoder="zipformer", adapter_dim=16, num_features=80, vocab_size=500))
    assert sum(p.numel() for m in model.modules() if isinstance(m, Adapter) for p in m.parameters()) == 761_344
