"""LoRA in every encoder: gradients reach it, and the merged weights give the same outputs."""

import copy

import pytest
import torch

from rnnt.model.encoders import ENCODERS
from rnnt.model.encoders.config import ConformerConfig, DeepLSTMConfig, LSTMConfig, StackedLSTMConfig
from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.model.low_rank import add_lora, merged

SMALL = [
    ZipformerConfig(
        num_encoder_layers=[1], downsampling_factor=[1, 2], encoder_dim=[32], encoder_unmasked_dim=[24],
        feedforward_dim=[48], num_heads=[2], cnn_module_kernel=[7],
    ),
    LSTMConfig(encoder_dim=32, encoder_layers=2, encoder_bidirectional=True),
    DeepLSTMConfig(encoder_dim=32, encoder_hidden_dim=48, encoder_layers=2, feedforward_dim=40),
    StackedLSTMConfig(encoder_dim=32, encoder_layers=3),
    ConformerConfig(encoder_dim=32, encoder_layers=2, attention_heads=2, feedforward_dim=40, conv_kernel=7),
]  # fmt: skip


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.name)
def test_merged_weights_give_the_same_outputs(config):
    torch.manual_seed(0)
    encoder = ENCODERS.implementation(config)(config, 80)
    plain = copy.deepcopy(encoder).eval()
    add_lora(encoder, 4, 4.0)
    learning = [p for name, p in encoder.named_parameters() if "lora" in name]
    for p in learning:
        torch.nn.init.normal_(p, std=0.1)
    x_BTF, x_len_B = torch.randn(2, 100, 80), torch.tensor([100, 90])
    encoder.train()(x_BTF, x_len_B)[0].square().sum().backward()
    assert all(p.grad is not None for p in learning)
    with torch.no_grad():
        wanted, before = encoder.eval()(x_BTF, x_len_B)[0], plain(x_BTF, x_len_B)[0]
        plain.load_state_dict(merged(encoder.state_dict()))
        assert (before - wanted).abs().max() > 0.01
        torch.testing.assert_close(plain(x_BTF, x_len_B)[0], wanted, rtol=1e-5, atol=1e-5)
