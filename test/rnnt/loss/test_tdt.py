import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rnnt.loss import full_joiner_loss, tdt_joiner_loss
from rnnt.loss.native import joiner as native_joiner

ours = pytest.mark.parametrize("ours", ["native", "reference"])
DURATIONS = (0, 1, 2, 3, 4)
WEIGHTS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
CASES = {
    "ragged": {},
    "no text in one": {"symbols": (5, 0, 2)},
    "no text at all": {"S": 0, "symbols": (0, 0, 0)},
    "one frame": {"T": 1, "S": 2, "frames": (1, 1, 1), "symbols": (2, 1, 0)},
    "no frames in one": {"frames": (7, 0, 5)},
    "neither frames nor text in one": {"frames": (7, 6, 0)},
    "more symbols than frames": {"S": 9, "frames": (7, 4, 5), "symbols": (4, 9, 5)},
}


def duration_layer(batch, durations):
    """Weight and bias of the output layer of the durations."""
    torch.manual_seed(7)
    D, J = len(durations), batch.weight_VJ.shape[1]
    weight, bias = (2 * torch.randn(*shape, dtype=torch.float64) for shape in ((D, J), (D,)))
    return [x.to(batch.weight_VJ.dtype).requires_grad_() for x in (weight, bias)]


def run(batch, backend="native", weights=WEIGHTS, durations=DURATIONS, **more):
    """loss_B, usable_B and all gradients of the weighted sum."""
    layer = duration_layer(batch, durations)
    leaves = (*batch.joiner[:4], *layer)
    options = {"blank_id": 4, "sigma": 0.05, "delay_penalty": 0.05, "backend": backend, **more}
    loss_B, usable_B = tdt_joiner_loss(*leaves, batch.symbols_BS, *batch.lengths, durations=durations, **options)
    return [loss_B, usable_B, *torch.autograd.grad((loss_B * weights).sum(), leaves)]


@pytest.fixture(params=[4, 4096], ids=["many tiles", "one tile"])
def tile_nodes(request, monkeypatch):
    monkeypatch.setattr(native_joiner, "LEAST_NODES", request.param)
    monkeypatch.setattr(native_joiner, "TILES", 1000)


def any_logits(T, U, K):
    """Joiner inputs whose K logits at node (t, u) are any we like: a layer whose input is 1 at this node alone.

    Returns enc (1,T,J), pred (1,U,J), and the weight (K,J): sin(0.7 i + 0.3) for the flat index i of (t, u, k).
    """
    t_J, u_J = (x.flatten() for x in torch.meshgrid(torch.arange(T), torch.arange(U), indexing="ij"))
    enc_TJ = (torch.arange(T)[:, None] == t_J).double() - 1
    pred_UJ = (torch.arange(U)[:, None] == u_J).double()
    weight_JK = torch.sin(0.7 * torch.arange(T * U * K, dtype=torch.float64) + 0.3).view(T * U, K)
    return enc_TJ[None], pred_UJ[None], weight_JK.t().contiguous()


def golden(T, symbols, durations, sigma, backend):
    """The loss, and the gradients by the token and duration logits of node (0, 0)."""
    enc, pred, both = any_logits(T, len(symbols) + 1, 4 + len(durations))
    weight, duration_weight = (x.requires_grad_() for x in both.split((4, len(durations))))
    loss_B, _ = tdt_joiner_loss(
        enc, pred, weight, weight.new_zeros(4), duration_weight, weight.new_zeros(len(durations)),
        torch.tensor([symbols]), torch.tensor([T]), torch.tensor([len(symbols)]),
        durations=durations, blank_id=3, sigma=sigma, activation="relu", backend=backend,
    )  # fmt: skip
    grads = torch.autograd.grad(loss_B.sum(), (weight, duration_weight))
    return loss_B.item(), grads[0][:, 0].tolist(), grads[1][:, 0].tolist()


@ours
def test_values_of_nemo(ours):
    """Losses and gradients that NeMo's own implementation gives for these logits, as published values."""
    loss, tokens, durations = golden(4, [1, 2], (0, 1, 2), 0.0, ours)
    assert loss == pytest.approx(5.693515, abs=2e-6)
    assert tokens == pytest.approx([0.161435, -0.602591, 0.323839, 0.117318], abs=2e-6)
    assert durations == pytest.approx([0.172607, -0.181737, 0.009129], abs=2e-6)
    loss, tokens, durations = golden(4, [1, 2], (0, 1, 2), 0.05, ours)
    assert loss == pytest.approx(5.869186, abs=2e-6)
    assert tokens == pytest.approx([0.161435, -0.606276, 0.323839, 0.121003], abs=2e-6)
    assert durations == pytest.approx([0.178418, -0.185714, 0.007296], abs=2e-6)
    assert golden(5, [2, 0, 2], DURATIONS, 0.02, ours)[0] == pytest.approx(8.537943, abs=2e-6)
    assert golden(3, [1], (1, 2), 0.0, ours)[0] == pytest.approx(3.936306, abs=2e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("durations", [DURATIONS, (1, 2), (3, 0, 1)], ids=str)
def test_equals_reference(make_batch, case, durations, tile_nodes, assert_close):
    batch = make_batch(**CASES[case])
    native, reference = (run(batch, backend, durations=durations) for backend in ("native", "reference"))
    assert torch.equal(native[1], reference[1])
    for x, y in zip(native, reference):
        assert torch.isfinite(x).all()
        assert_close(x.double(), y.double(), 1e-9)


@ours
@pytest.mark.parametrize("durations", [(0, 1, 2), (1, 3)], ids=str)
def test_equals_all_paths_enumerated(make_batch, ours, durations):
    """Every sequence of arcs, without a recursion."""
    T, symbols, blank = 4, [2, 0], 4
    batch = make_batch(S=2, T=T, frames=(T,), symbols=(2,), V=6)
    batch.symbols_BS = torch.tensor([symbols])
    weight, bias = duration_layer(batch, durations)
    hidden = torch.tanh(batch.enc_BTJ[0, :, None] + batch.pred_BUJ[0, None])
    lp = torch.log_softmax(hidden @ batch.weight_VJ.t() + batch.bias_V, -1) - 0.1
    lq = torch.log_softmax(hidden @ weight.t() + bias, -1)
    steps = list(itertools.product((False, True), range(len(durations))))
    scores = []
    for length in range(1, T + 3):
        for path in itertools.product(steps, repeat=length):
            t = u = 0
            score = torch.zeros((), dtype=torch.float64)
            for emits, j in path:
                if t >= T or u + emits > 2 or (not emits and durations[j] == 0):
                    break
                score = score + lp[t, u, symbols[u] if emits else blank] + lq[t, u, j]
                t, u = t + durations[j], u + emits
            else:
                if t == T and u == 2 and not path[-1][0]:
                    scores.append(score)
    loss = -torch.stack(scores).logsumexp(0)
    found = run(batch, ours, weights=1.0, durations=durations, sigma=0.1, delay_penalty=0.0)
    assert found[0].item() == pytest.approx(loss.item(), rel=1e-10)
    for x, y in zip(found[2:], torch.autograd.grad(loss, (*batch.joiner[:4], weight, bias))):
        torch.testing.assert_close(x, y)


def test_gradcheck(make_batch):
    batch = make_batch(S=3, T=5, V=5, D=3, frames=(5, 3), symbols=(3, 1), peak=1.0)
    options = {"durations": (0, 1, 2), "blank_id": 1, "sigma": 0.05, "delay_penalty": 0.1}

    def loss(*tensors):
        return tdt_joiner_loss(*tensors, batch.symbols_BS, *batch.lengths, **options)[0]

    assert torch.autograd.gradcheck(loss, (*batch.joiner[:4], *duration_layer(batch, (0, 1, 2))))


def test_only_the_duration_1_is_the_modified_topology_with_a_blank_at_the_end(make_batch):
    batch = make_batch(symbols=(5, 3, 2))
    weight, bias = duration_layer(batch, (1,))
    loss_B, _ = tdt_joiner_loss(
        *batch.joiner[:4], weight, bias, batch.symbols_BS, *batch.lengths, durations=(1,), blank_id=4
    )
    lengths = batch.x_len_B - 1, batch.y_len_B
    shorter_B, _ = full_joiner_loss(*batch.joiner, *lengths, blank_id=4, rnnt_type="modified")
    rows = torch.arange(3)
    hidden = torch.tanh(batch.enc_BTJ[rows, lengths[0]] + batch.pred_BUJ[rows, lengths[1]])
    blank_B = (hidden @ batch.weight_VJ.t() + batch.bias_V).log_softmax(1)[:, 4]
    torch.testing.assert_close(loss_B, shorter_B - blank_B)


@ours
def test_a_path_must_end_exactly_on_the_last_frame(make_batch, ours):
    """By durations of 2 and 4 no odd number of frames is reached, and a token needs 2 frames, the last blank too."""
    batch = make_batch(S=2, T=6, frames=(5, 6, 4), symbols=(1, 2, 2))
    loss_B, usable_B, enc_grad, *_ = run(batch, ours, torch.tensor([torch.inf, 1.0, 1.0]), durations=(2, 4))
    assert usable_B.tolist() == [False, True, False] and (loss_B[[0, 2]] == 0).all() and loss_B[1] > 0
    assert (enc_grad[[0, 2]] == 0).all() and torch.isfinite(enc_grad).all() and enc_grad[1].any()


@ours
def test_a_nan_makes_the_loss_and_the_gradient_of_its_utterance_nan(make_batch, ours):
    batch = make_batch(frames=(7, 6, 4))
    clean = run(batch, ours)
    with torch.no_grad():
        batch.enc_BTJ[1, 2] = torch.nan
        if ours == "native":
            batch.enc_BTJ[2, 5] = torch.nan  # beyond the end
    loss_B, usable_B, enc_grad, *_ = run(batch, ours)
    assert torch.isnan(loss_B).tolist() == [False, True, False] and usable_B.all()
    assert torch.equal(loss_B[[0, 2]], clean[0][[0, 2]])
    assert torch.isfinite(enc_grad[[0, 2]]).all() and torch.isnan(enc_grad[1]).any()


@ours
def test_an_empty_batch(make_batch, ours):
    loss_B, usable_B, *grads = run(make_batch(frames=(), symbols=()), ours, weights=torch.zeros(0))
    assert loss_B.shape == usable_B.shape == (0,)
    assert all((grad == 0).all() for grad in grads)


def test_no_tensor_as_large_as_a_quarter_of_the_logits_exists(make_batch):
    class Largest(TorchDispatchMode):
        bytes = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for x in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(x, torch.Tensor):
                    self.bytes = max(self.bytes, x.numel() * x.element_size())
            return result

    B, T, S, V = 4, 200, 20, 200
    batch = make_batch(S=S, T=T, V=V, D=8, frames=(T,) * B, symbols=(S,) * B, dtype=torch.float32)
    with Largest() as largest:
        run(batch, weights=torch.ones(B))
    assert largest.bytes <= B * T * (S + 1) * V * 4 // 16


def test_long_utterances_in_float32(make_batch):
    """Scores of thousands: occupations are as exact as those of double precision."""
    found = []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(3)
        batch = make_batch(S=30, T=300, V=9, D=4, frames=(300, 150), symbols=(30, 12), dtype=dtype, peak=2.0)
        found.append(run(batch, weights=torch.ones(2)))
    for x, y in zip(found[0], found[1]):
        scale = x.double().abs().max().clamp(min=1)
        torch.testing.assert_close(y.double() / scale, x.double() / scale, rtol=0, atol=2e-5)


def test_dropout_is_the_same_in_both_passes(make_batch, tile_nodes):
    batch = make_batch(S=3, T=4, V=5, D=3, frames=(4, 3), symbols=(3, 1), peak=1.0)
    options = {"durations": (0, 1, 2), "blank_id": 1, "dropout": 0.4}

    def loss(*tensors):
        torch.manual_seed(5)
        return tdt_joiner_loss(*tensors, batch.symbols_BS, *batch.lengths, **options)[0]

    assert torch.autograd.gradcheck(loss, (*batch.joiner[:4], *duration_layer(batch, (0, 1, 2))), fast_mode=True)


def test_what_cannot_be_computed_is_said(make_batch):
    batch = make_batch()
    for durations in ((0,), (1, 1), (-1, 2), ()):
        with pytest.raises(ValueError, match="durations must be"):
            run(batch, durations=durations)
    with pytest.raises(ValueError, match="k2 has no TDT"):
        run(batch, "k2")
    with pytest.raises(ValueError, match="activation"):
        run(batch, activation="gelu")


def test_bfloat16_and_autocast_have_float32_sums(make_batch, assert_close):
    exact = make_batch(dtype=torch.float32, peak=0.7)
    wanted = run(exact, weights=WEIGHTS.float())
    with torch.autocast("cpu", torch.bfloat16):
        automatic = run(exact, weights=WEIGHTS.float())
    assert automatic[0].dtype == torch.float32 and automatic[4].dtype == torch.float32
    for x, z in zip(automatic, wanted):
        assert_close(x.float(), z.float(), 3e-2)


def test_repeats_bit_for_bit(make_batch):
    batch = make_batch(S=12, T=60, V=50, D=32, frames=(60, 50, 40), symbols=(12, 9, 3), dtype=torch.float32)
    assert all(torch.equal(x, y) for x, y in zip(run(batch), run(batch)))
