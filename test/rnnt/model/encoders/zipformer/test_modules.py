"""The parts of the zipformer against icefall's numbers and against their formulas."""

import math

import pytest
import torch

from rnnt.model.encoders.zipformer.activations import SwooshLinear, SwooshR
from rnnt.model.encoders.zipformer.bypass import Downsample, upsample
from rnnt.model.encoders.zipformer.context import Chunks, make_context
from rnnt.model.encoders.zipformer.convolution import ChunkCausalConvolution
from rnnt.model.encoders.zipformer.norm import BiasNorm
from rnnt.model.encoders.zipformer.positions import distance_encoding
from rnnt.model.encoders.zipformer.weights import by_key
from rnnt.ops.swoosh import LEFT, RIGHT, swoosh, swoosh_grad


def test_bias_norm(vectors):
    norm = BiasNorm(16)
    norm.load_state_dict({"bias": vectors["biasnorm/bias"], "log_scale": vectors["biasnorm/log_scale"]})
    x = vectors["biasnorm/x"].clone().requires_grad_()
    y = norm.eval()(x)
    torch.testing.assert_close(y, vectors["biasnorm/y"], rtol=1e-5, atol=1e-6)
    y.backward(vectors["biasnorm/grad_out"])
    for found, name in ((x.grad, "x_grad"), (norm.bias.grad, "bias_grad"), (norm.log_scale.grad, "log_scale_grad")):
        torch.testing.assert_close(found, vectors[f"biasnorm/{name}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind, name", [(LEFT, "l"), (RIGHT, "r")])
def test_swoosh(kind, name, vectors):
    x = vectors["swoosh/x"]
    torch.testing.assert_close(swoosh(x, kind), vectors[f"swoosh/{name}"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(swoosh_grad(torch.ones_like(x), x, kind), torch.sigmoid(x - kind[0]) - 0.08)
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(SwooshR()(x).sum(), x)
    torch.testing.assert_close(grad, swoosh_grad(torch.ones_like(x), x.detach(), RIGHT))


def test_swoosh_and_dropout_before_a_linear_layer():
    """Against the same in single operations: values, and all gradients."""
    torch.manual_seed(0)
    layer = SwooshLinear(6, 4, LEFT, init_scale=1.0, dropout=0.5).double()
    x = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    y = layer(x)
    torch.manual_seed(1)
    mask = layer.dropout.mask(x)
    assert mask.shape == (3, 1, 6) and set(mask.unique().tolist()) == {0.0, 2.0}
    plain = (torch.log1p(torch.exp(x - 4)) - 0.08 * x - 0.035) * mask
    expected = plain @ layer.weight.t() + layer.bias
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(y)
    inputs = (x, layer.weight, layer.bias)
    for found, right in zip(torch.autograd.grad((y * weights).sum(), inputs),
                            torch.autograd.grad((expected * weights).sum(), inputs)):  # fmt: skip
        torch.testing.assert_close(found, right)
    layer.eval()
    torch.testing.assert_close(layer(x), swoosh(x.detach(), LEFT) @ layer.weight.t() + layer.bias)


def test_distances():
    encoding = distance_encoding(4, 8)
    assert encoding.shape == (7, 8)
    for row, offset in enumerate(range(-3, 4)):
        c = math.sqrt(8)
        compressed = c * math.copysign(1, offset) * (math.log(abs(offset) + c) - math.log(c))
        angle = math.atan(2 * math.pi * compressed / 8)
        expected = [f((k + 1) * angle) for k in range(4) for f in (math.cos, math.sin)][:-1] + [1.0]
        torch.testing.assert_close(encoding[row], torch.tensor(expected))


@pytest.mark.parametrize("T", [1, 2, 5])
def test_scores_by_distance_become_scores_by_key(T):
    i, j = torch.arange(T)[:, None], torch.arange(T)
    by_distance = (torch.arange(-(T - 1), T) + 100 * i).float().expand(2, 3, T, 2 * T - 1)
    assert torch.equal(by_key(by_distance), (j - i + 100 * i).float().expand(2, 3, T, T))


def test_downsampling_repeats_the_last_frame_of_each_utterance():
    down = Downsample(4)
    with torch.no_grad():
        down.bias.copy_(torch.tensor([0.1, -0.2, 0.5, 0.3]))
    x = torch.randn(3, 10, 2)
    y = down(x, torch.tensor([10, 5, 8]))
    weights = down.bias.softmax(0)
    for b, length in enumerate((10, 5, 8)):
        for t in range(-(-length // 4)):
            frames = [min(4 * t + i, length - 1) for i in range(4)]
            torch.testing.assert_close(y[b, t], (weights[:, None] * x[b, frames]).sum(0))
    assert torch.equal(upsample(y, 4, 10)[:, 5], y[:, 1]) and upsample(y, 4, 10).shape == x.shape


def test_who_sees_whom_in_chunks():
    context = make_context(torch.tensor([13, 7]), 13, 2, Chunks(size=4, left=1))
    assert context.len_B.tolist() == [7, 4] and context.chunk_size == 2
    for b, length in enumerate((7, 4)):
        for query in range(7):
            for key in range(7):
                sees = key < length and 0 <= query // 2 - key // 2 <= 1
                assert (context.hidden[b, 0, query, key].item() == 0) is sees
    whole = make_context(torch.tensor([13, 7]), 13, 2, Chunks())
    assert torch.equal(whole.hidden[:, 0, 0] == 0, whole.valid_BT) and whole.chunk_size == -1


@pytest.mark.parametrize("size", [2, 4, -1])
def test_chunks_see_no_further_than_their_end(size):
    conv = ChunkCausalConvolution(3, 5)
    with torch.no_grad():
        conv.chunkwise_conv_scale.normal_()
    x = torch.randn(1, 11, 3)
    context = make_context(torch.tensor([11]), 11, 1, Chunks(size=size))
    y = conv(x, context)
    for t in range(11):
        end = 11 if size < 0 else (t // size + 1) * size
        changed = x.clone()
        changed[:, end:] += 1
        torch.testing.assert_close(conv(changed, context)[:, t], y[:, t])
