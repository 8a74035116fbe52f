import torch
from torch import nn

from rnnt.model.config import JoinerConfig
from rnnt.model.joiner import Joiner
from rnnt.model.layers import with_prepacked_weights
from rnnt.ops import matmul as products
from rnnt.ops.matmul import can_pack


def test_packed_joiner_gives_the_same_logits():
    joiner = Joiner(6, 8, 50, JoinerConfig(joiner_dim=16))
    packed = with_prepacked_weights(joiner, 16)
    assert can_pack(joiner.output.weight) == (type(packed.output) is not nn.Linear)
    assert type(joiner.output) is nn.Linear  # the model itself is untouched
    with torch.inference_mode():
        for rows in (1, 3, 64):
            h, p = torch.randn(rows, 5, 6), torch.randn(rows, 1, 8)
            expected = joiner.logits(joiner.project_encoder(h), joiner.project_predictor(p))
            logits = packed.logits(packed.project_encoder(h), packed.project_predictor(p))
            torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_half_precision_autocast_and_a_torch_without_onednn_are_left_alone(monkeypatch):
    weight = torch.randn(4, 4)
    assert not can_pack(weight.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not can_pack(weight)
    monkeypatch.setattr(products, "_has_onednn_packing", lambda: False)
    assert not can_pack(weight)
