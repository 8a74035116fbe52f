"""Predictor, joiner and heads with icefall's options: its losses and gradients, its first weights, its start."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.model.config import PREDICTORS, JoinerConfig, ModelConfig, StatelessConfig
from rnnt.model.joiner import Joiner
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.predictor import StatelessPredictor
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.training.config import LossConfig

# Encoder output, losses and gradients of icefall's own classes.
VECTORS = Path(__file__).parents[2] / "data" / "icefall_training.npz"
OURS = {
    "decoder.": "network.predictor.",
    "joiner.encoder_proj.": "network.joiner.encoder_proj.",
    "joiner.decoder_proj.": "network.joiner.predictor_proj.",
    "joiner.output_linear.": "network.joiner.output.",
    "simple_am_proj.": "objectives.pruned.simple_am_proj.",
    "simple_lm_proj.": "objectives.pruned.simple_lm_proj.",
    "ctc_output.1.": "objectives.ctc.output.",
}


def our_name(name):
    (prefix,) = [prefix for prefix in OURS if name.startswith(prefix)]
    return OURS[prefix] + name[len(prefix) :]


def weight_by_formula(number, shape):
    w = np.sin(0.7 * number + 0.37 * np.arange(int(np.prod(shape))) + 1.01)
    w = w * 0.8 / np.sqrt(np.prod(shape) / shape[0]) if len(shape) > 1 else 0.1 * w
    return torch.tensor(w.reshape(shape), dtype=torch.float32)


def probes(tensor):
    """A tensor in two numbers: its norm, and its product with a sine."""
    flat = tensor.detach().double().flatten()
    return [
        flat.norm().item(),
        (flat * torch.sin(0.13 * torch.arange(len(flat), dtype=torch.float64) + 0.5)).sum().item(),
    ]


def test_losses_and_gradients_are_icefalls(monkeypatch):
    with np.load(VECTORS) as file:
        arrays = {name.removeprefix("heads/"): file[name] for name in file.files if name.startswith("heads/")}
    h_BTD, h_len_B = torch.tensor(arrays["h"]), torch.tensor(arrays["h_len"])
    tensors, targets = json.loads(str(arrays["tensors"])), json.loads(str(arrays["targets"]))
    config = make(
        ModelConfig, encoder_dim=48, encoder_layers=1, predictor_dim=24, joiner_dim=32, icefall_predictor=True,
        dropout=0.0, num_features=80, vocab_size=20,
    )  # fmt: skip
    losses = make(LossConfig, loss="pruned ctc", prune_range=4, warm_step=0)
    model = TrainingModel(Transducer(config), losses.loss).eval()
    state = {our_name(name): weight_by_formula(t["number"], t["shape"]) for name, t in tensors.items()}
    own = {name for name in model.state_dict() if "encoder." not in name and "feature_" not in name}
    assert state.keys() == own
    model.load_state_dict(state, strict=False)
    monkeypatch.setattr(model.network, "encode", lambda *_: (h_BTD, h_len_B))
    monkeypatch.setattr(model.network, "encoded_lengths", lambda _: h_len_B)
    y_BS = torch.nn.utils.rnn.pad_sequence([torch.tensor(y) for y in targets], True)
    loss = model(Utterances(h_BTD, h_len_B, y_BS, torch.tensor([len(y) for y in targets])), 0)
    for name, term in (("simple", "simple"), ("pruned", "transducer"), ("ctc", "ctc")):
        assert loss.terms[term].item() == pytest.approx(float(arrays[f"{name}_loss"]), rel=1e-6), name
    loss.total.backward()
    parameters = dict(model.named_parameters())
    for name, t in tensors.items():
        norm, product = probes(parameters[our_name(name)].grad)
        assert norm == pytest.approx(t["grad"][0], rel=1e-5), name
        assert product == pytest.approx(t["grad"][1], abs=1e-5 * norm), name


@pytest.mark.parametrize("context_size", [1, 2, 3])
def test_zero_vectors_and_then_the_embedding_of_blank(context_size):
    torch.manual_seed(0)
    predictor = StatelessPredictor(StatelessConfig(8, 0.0, None, context_size, True), 7, 3)
    g_BUD = predictor(torch.tensor([[1, 5, 6, 6]]))
    rows = predictor.embedding(torch.tensor([3, 1, 5, 6, 6]))
    assert rows[0].abs().min() > 0
    if predictor.conv is None:
        torch.testing.assert_close(g_BUD[0], rows)  # also what is negative
    else:
        assert predictor.conv.bias is None
        padded = torch.cat([torch.zeros(context_size - 1, 8), rows])
        for u in range(5):
            seen_DC = padded[u : u + context_size].T
            expected = torch.stack(
                [(predictor.conv.weight[d] * seen_DC[d // 4 * 4 : d // 4 * 4 + 4]).sum() for d in range(8)]
            )
            torch.testing.assert_close(g_BUD[0, u], expected.relu())
    state = predictor.initial_state(1)
    for u, token in enumerate((3, 1, 5, 6, 6)):
        g_ND, state = predictor.step(torch.tensor([token]), state)
        torch.testing.assert_close(g_ND[0], g_BUD[0, u])
    g_BUD.square().sum().backward()
    assert predictor.embedding.weight.grad[3].abs().sum() > 0


def test_first_weights_are_scaled():
    layers = []
    for scale in (1.0, 0.25):
        torch.manual_seed(0)
        joiner = Joiner(200, 200, 50, JoinerConfig(joiner_dim=100, proj_init_scale=scale))
        config = make(ModelConfig, encoder_dim=64, encoder_layers=1, num_features=8, vocab_size=50)
        pruned = TrainingModel(Transducer(config), make(LossConfig, proj_init_scale=scale).loss).objectives["pruned"]
        layers.append([joiner.encoder_proj, joiner.predictor_proj, pruned.simple_am_proj, pruned.simple_lm_proj])
        last = joiner.output.weight.std().item()
    for plain, scaled in zip(*layers):
        assert scaled.weight.std().item() == pytest.approx(0.25 * plain.weight.std().item(), rel=0.1)
        assert 0.02 < scaled.bias.abs().max() <= 0.025
    assert last == pytest.approx(1 / 300**0.5, rel=0.05)
    for bad in ({"proj_init_scale": 0.0}, {"predictor": "lstm", "icefall_predictor": True}):
        with pytest.raises(ValueError):
            make(ModelConfig, **bad)


def test_every_row_of_the_embedding_is_a_tensor_to_import():
    assert "stateless" in PREDICTORS
    made = StatelessPredictor(StatelessConfig(512, icefall_predictor=True), 500, 0).state_dict()
    assert {name: tuple(value.shape) for name, value in made.items()} == {
        "embedding.weight": (500, 512), "conv.weight": (512, 4, 2)
    }  # fmt: skip
