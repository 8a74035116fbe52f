import pytest
import torch
from torch import nn

from rnnt.search import search
from rnnt.search.config import METHODS, SearchConfig
from rnnt.search.packed import can_pack, with_packed_weights


def test_packed_joiner_gives_the_same_logits(make_model):
    joiner = make_model(vocab=50).joiner
    packed = with_packed_weights(joiner, 16)
    assert can_pack(joiner.output) == (type(packed.output) is not nn.Linear)
    assert type(joiner.output) is nn.Linear  # the model itself is untouched
    with torch.inference_mode():
        for rows in (1, 3, 64):
            h, p = torch.randn(rows, 5, 6), torch.randn(rows, 1, 8)
            expected = joiner.logits(joiner.project_encoder(h), p)
            torch.testing.assert_close(packed.logits(packed.project_encoder(h), p), expected, atol=1e-4, rtol=1e-4)


def test_half_precision_and_a_torch_without_onednn_are_left_alone(monkeypatch):
    assert not can_pack(nn.Linear(4, 4).to(torch.bfloat16))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not can_pack(nn.Linear(4, 4))


@pytest.mark.parametrize("method", METHODS)
def test_large_batches_are_searched_with_the_same_result(make_model, make_batch, method):
    """A batch large enough to be packed against its utterances alone, which are not."""
    model = make_model(seed=3)
    h_BTD, h_len_B = make_batch([260, 250, 240, 255])
    config = SearchConfig(method, beam_size=2, max_sym_per_frame=2)
    together = search(model, h_BTD, h_len_B, config)
    alone = [search(model, h_BTD[b : b + 1], h_len_B[b : b + 1], config)[0] for b in range(2)]
    for [a], [b] in zip(together, alone):
        assert a.tokens == b.tokens and a.score == pytest.approx(b.score, rel=1e-4)
