"""Language models: step by step they are what they are at once, and padding changes nothing."""

import math

import pytest
import torch

from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import make

V, BOUNDARY = 11, 1
SIZES = {
    "lstm": {"dim": 12, "layers": 2},
    "transformer": {"dim": 16, "layers": 2, "heads": 2, "feedforward_dim": 24, "context": 4},
}


@pytest.fixture(params=[(kind, tied) for kind in SIZES for tied in (True, False)], ids=str)
def model(request):
    kind, tied = request.param
    torch.manual_seed(3)
    options = {"model": kind, "tie_weights": tied, "vocab_size": V, "boundary_id": BOUNDARY, **SIZES[kind]}
    return make_language_model(make(LanguageModelConfig, **options)).eval()


def texts(number=5, longest=9):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([longest, 0, 3, longest - 1, 1][:number])
    return torch.randint(0, V, (number, longest), generator=generator), lengths


def test_steps_give_what_the_whole_gives(model):
    """Also with hypotheses that are chosen, repeated and held back between steps, as in a beam."""
    y_BS, _ = texts()
    logp_BUV = model(y_BS).log_softmax(dim=2)
    logp_NV, state = model.step(torch.full((5,), BOUNDARY), model.initial_state(5))
    torch.testing.assert_close(logp_NV, logp_BUV[:, 0])
    rows = torch.tensor([4, 0, 0, 2, 1])
    state = tuple(part[rows] for part in state)
    for u in range(y_BS.shape[1]):
        before = [part.clone() for part in state]
        logp_NV, after = model.step(y_BS[rows, u], state)
        torch.testing.assert_close(logp_NV, logp_BUV[rows, u + 1])
        assert all(torch.equal(a, b) for a, b in zip(before, state)), "a step changed the state that it was given"
        assert [part.shape for part in after] == [part.shape for part in state]
        state = after


def test_scores_of_texts_are_those_of_each_alone(model):
    y_BS, length_B = texts()
    scores_BU = model.token_scores(y_BS, length_B)
    for y_S, length, scores_U in zip(y_BS, length_B.tolist(), scores_BU):
        alone = model.token_scores(y_S[None, :length], torch.tensor([length]))[0]
        torch.testing.assert_close(scores_U[: length + 1], alone)
        assert not scores_U[length + 1 :].any()
        logp_UV = model(y_S[None, :length])[0].log_softmax(dim=1)
        expected = [logp_UV[u, token] for u, token in enumerate([*y_S[:length].tolist(), BOUNDARY])]
        torch.testing.assert_close(alone, torch.stack(expected))


def reference_transformer(model, tokens):
    """The same function in loops over positions, with rotations as products of complex numbers."""
    x = [model.embedding.weight[t] * math.sqrt(model.config.dim) for t in tokens]
    heads, width = model.config.heads, model.config.dim // model.config.heads
    half = width // 2
    rate = torch.tensor([10000 ** (-i / half) for i in range(half)])

    def turned(vector, position):
        number = torch.complex(vector[:half], vector[half:]) * torch.polar(torch.ones(half), position * rate)
        return torch.cat((number.real, number.imag))

    for layer in model.layers:
        normed = [layer.attention_norm(v) for v in x]
        parts = [(layer.qkv.weight @ v + layer.qkv.bias).view(3, heads, width) for v in normed]
        out = []
        for i in range(len(x)):
            seen = range(max(0, i - model.config.context + 1), i + 1)
            mixed = []
            for h in range(heads):
                query = turned(parts[i][0, h], i)
                products = torch.stack([query @ turned(parts[j][1, h], j) for j in seen]) / math.sqrt(width)
                mixed.append(sum(p * parts[j][2, h] for p, j in zip(products.softmax(0), seen)))
            attended = x[i] + layer.attention_output(torch.cat(mixed))
            out.append(attended + layer.feedforward(layer.feedforward_norm(attended)))
        x = out
    return torch.stack([model.output(model.norm(v)) for v in x])


def test_transformer_and_its_gradient_are_those_of_the_formula():
    torch.manual_seed(0)
    options = {"model": "transformer", "vocab_size": V, "boundary_id": BOUNDARY, **SIZES["transformer"]}
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = make_language_model(make(LanguageModelConfig, **options)).eval()
        tokens = [3, 7, 7, 2, 9, 5, 4]
        found = model(torch.tensor([tokens]))[0]
        expected = reference_transformer(model, [BOUNDARY, *tokens])
        torch.testing.assert_close(found, expected)
        direction = torch.randn(found.shape)
        gradients = [torch.autograd.grad((x * direction).sum(), list(model.parameters())) for x in (found, expected)]
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b)
    finally:
        torch.set_default_dtype(default)


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="must be a multiple of twice --heads 3"):
        make(LanguageModelConfig, model="transformer", dim=16, heads=3)
    with pytest.raises(ValueError, match="--boundary-id must be one of"):
        make(LanguageModelConfig, vocab_size=5, boundary_id=5)
