"""Blank may be any id: the same model with its tokens renumbered gives the same losses and the same texts."""

from dataclasses import replace

import pytest
import torch

from rnnt.model.config import ModelConfig
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.search import search
from rnnt.search.config import SEARCHES, SearchConfig
from rnnt.training.config import LossConfig

V = 7
SIZES = {"encoder_dim": 16, "encoder_layers": 2, "dropout": 0.0, "predictor_dim": 12, "joiner_dim": 10,
         "num_features": 9, "vocab_size": V}  # fmt: skip
OWN = {"stacked_lstm": {"layers_before_stacking": 1}, "lstm": {"subsampling_channels": 4}}


def renumbered(model, new_id):
    """`model`, whose blank is 0, with id v called new_id[v]."""
    config = replace(model.network.config, blank_id=int(new_id[0]))
    twin = TrainingModel(Transducer(config), [objective.config for objective in model.objectives.values()])
    state = model.state_dict()
    old_id = new_id.argsort()
    for name in state:
        if name.startswith(("network.joiner.output", "objectives")) or state[name].shape[:1] == (V,):
            state[name] = state[name][old_id]
        elif name == "network.predictor.embedding.weight":  # without a row for blank
            tokens = [v for v in old_id.tolist() if v]
            state[name] = state[name][torch.tensor(tokens) - 1]
    twin.load_state_dict(state)
    return twin.eval()


@pytest.mark.parametrize(
    "encoder, predictor, loss", [("stacked_lstm", "lstm", "full"), ("lstm", "stateless", "pruned")]
)
@pytest.mark.parametrize("blank_id", [V - 1, 3])
def test_losses_and_searches_do_not_care_where_blank_is(encoder, predictor, loss, blank_id):
    torch.manual_seed(1)
    config = make(ModelConfig, **SIZES, **OWN[encoder], encoder=encoder, predictor=predictor)
    trained = TrainingModel(Transducer(config), make(LossConfig, loss=f"{loss} ctc", ctc_loss_scale=0.3).loss).eval()
    new_id = torch.tensor([blank_id] + [v - (v <= blank_id) for v in range(1, V)])
    renumbered_one = renumbered(trained, new_id)
    x_BTF, x_len_B = torch.randn(3, 60, 9), torch.tensor([60, 31, 48])
    y_BS, y_len_B = torch.tensor([[1, 2, 3, 6], [4, 5, 0, 0], [0, 0, 0, 0]]), torch.tensor([4, 2, 0])
    before = trained(Utterances(x_BTF, x_len_B, y_BS, y_len_B), 0)
    after = renumbered_one(Utterances(x_BTF, x_len_B, new_id[y_BS], y_len_B), 0)
    torch.testing.assert_close(before.total, after.total)
    model, twin = trained.network, renumbered_one.network
    assert model.blank_id == 0 and twin.blank_id == blank_id

    with torch.no_grad():
        for one in (model, twin):  # scores far enough apart for some labels, not many on each frame
            one.joiner.output.weight *= 10
            one.joiner.encoder_proj.weight *= 10
            one.joiner.output.bias[one.blank_id] = 0.5
        h_BTD, h_len_B = model.encode(x_BTF, x_len_B)
    for method in SEARCHES:
        options = SearchConfig(decoding_method=method, beam_size=3, max_sym_per_frame=3)
        found = [[hyps[0] for hyps in search(m, h_BTD, h_len_B, options)] for m in (model, twin)]
        texts = [[hyp.tokens for hyp in hyps] for hyps in found]
        assert [tuple(new_id[list(t)].tolist()) for t in texts[0]] == texts[1]
        assert any(texts[0]) and blank_id not in sum(texts[1], ())
