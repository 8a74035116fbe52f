import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import rnnt.loss as losses
from rnnt.loss import full_joiner_loss, prune_ranges, pruned_joiner_loss, smoothed_loss
from rnnt.loss.native import joiner as native_joiner
from rnnt.loss.native import wavefront

CASES = {
    "ragged": {},
    "no text in one": {"symbols": (5, 0, 2)},
    "no text at all": {"S": 0, "symbols": (0, 0, 0)},
    "one frame": {"T": 1, "S": 2, "frames": (1, 1, 1), "symbols": (2, 1, 0)},
    "no frames in one": {"frames": (7, 0, 5)},
    "more symbols than frames": {"S": 9, "frames": (7, 4, 5), "symbols": (4, 9, 5)},
}
WEIGHTS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)


def ranges_of(batch, prune_range, rnnt_type):
    _, px_grad, py_grad = smoothed_loss(
        *batch.simple, blank_id=4, lm_only_scale=0.25, am_only_scale=0.0, rnnt_type=rnnt_type
    )
    return prune_ranges(px_grad, py_grad, *batch.lengths, prune_range, rnnt_type)


def run(batch, ranges_BTR=None, backend="native", weights=WEIGHTS, **more):
    options = {"blank_id": 4, "delay_penalty": 0.05, "backend": backend, **more}
    if ranges_BTR is None:
        loss_B, usable_B = full_joiner_loss(*batch.joiner, *batch.lengths, **options)
    else:
        loss_B, usable_B = pruned_joiner_loss(*batch.joiner, ranges_BTR, *batch.lengths, **options)
    return [loss_B, usable_B, *batch.gradients((loss_B * weights).sum())]


@pytest.fixture(params=[(4, 3), (4096, 32)], ids=["many tiles", "one tile"])
def tile_nodes(request, monkeypatch):
    """Many small tiles and blocks of wavefronts, or one of each."""
    nodes, wavefronts = request.param
    monkeypatch.setattr(native_joiner, "LEAST_NODES", nodes)
    monkeypatch.setattr(native_joiner, "TILES", 1000)
    monkeypatch.setattr(wavefront, "BLOCK", wavefronts)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("prune_range", [1, 3, 20, None])
def test_equals_reference(make_batch, case, prune_range, rnnt_type, tile_nodes, assert_close):
    batch = make_batch(**CASES[case])
    ranges_BTR = None if prune_range is None else ranges_of(batch, prune_range, rnnt_type)
    native = run(batch, ranges_BTR, rnnt_type=rnnt_type)
    reference = run(batch, ranges_BTR, "reference", rnnt_type=rnnt_type)
    assert torch.equal(native[1], reference[1])
    for x, y in zip(native, reference):
        assert torch.isfinite(x).all()
        assert_close(x.double(), y.double(), 1e-9)


@pytest.mark.parametrize("R", [2, 3])
@pytest.mark.parametrize("steepest", [2, 4])
def test_any_windows_that_begin_at_0_and_never_move_down(make_batch, rnnt_type, R, steepest, tile_nodes, assert_close):
    """Steeper ones than `prune_ranges` makes, also past the end of a text: some leave no path."""
    B, S, T = 40, 8, 6
    frames = torch.randint(1, T + 1, (B,)).tolist()
    symbols = torch.randint(0, S + 1, (B,)).tolist()
    batch = make_batch(S=S, T=T, V=5, D=3, frames=frames, symbols=symbols)
    steps_BT = torch.nn.functional.pad(torch.randint(0, steepest + 1, (B, T - 1)), (1, 0))
    start_BT = steps_BT.cumsum(1).clamp(max=S + 1 - R)
    ranges_BTR = start_BT[:, :, None] + torch.arange(R)
    weights = torch.randn(B, dtype=torch.float64)
    native, reference = (
        run(batch, ranges_BTR, backend, weights, rnnt_type=rnnt_type) for backend in ("native", "reference")
    )
    assert torch.equal(native[1], reference[1]) and native[1].any() and not native[1].all()
    for x, y in zip(native, reference):
        assert_close(x.double(), y.double(), 1e-9)


@pytest.mark.parametrize("full", [False, True])
def test_gradcheck(make_batch, rnnt_type, full):
    batch = make_batch(S=3, T=4, V=5, D=3, frames=(4, 3), symbols=(3, 1), peak=1.0)
    ranges_BTR = None if full else ranges_of(batch, 2, rnnt_type)

    def loss(*tensors):
        options = {"blank_id": 1, "rnnt_type": rnnt_type, "delay_penalty": 0.1}
        if full:
            return full_joiner_loss(*tensors, batch.symbols_BS, *batch.lengths, **options)[0]
        return pruned_joiner_loss(*tensors, batch.symbols_BS, ranges_BTR, *batch.lengths, **options)[0]

    assert torch.autograd.gradcheck(loss, batch.joiner[:4])


def test_relu(make_batch, assert_close):
    batch = make_batch()
    for x, y in zip(run(batch, activation="relu"), run(batch, backend="reference", activation="relu")):
        assert_close(x.double(), y.double(), 1e-9)
    with pytest.raises(ValueError, match="activation"):
        run(batch, activation="gelu")


def test_equals_all_paths_enumerated(make_batch, assert_close):
    """One small utterance, log_softmax and every path written out."""
    batch = make_batch(S=2, T=3, frames=(3,), symbols=(2,))
    hidden = torch.tanh(batch.enc_BTJ[0, :, None] + batch.pred_BUJ[0, None])
    logp_TUV = torch.log_softmax(hidden @ batch.weight_VJ.t() + batch.bias_V, -1)
    first, second = batch.symbols_BS[0].tolist()
    paths = []
    for t1 in range(3):
        for t2 in range(t1, 3):
            states = [(t >= t1) + (t >= t2) for t in range(3)]
            blanks = sum(logp_TUV[t, s, 4] for t, s in enumerate(states))
            paths.append(blanks + logp_TUV[t1, 0, first] + logp_TUV[t2, 1, second])
    loss = -torch.stack(paths).logsumexp(0)
    native = run(batch, weights=1.0, delay_penalty=0.0)
    assert_close(native[0][0], loss, 1e-9)
    for x, y in zip(native[2:], batch.gradients(loss)):
        assert_close(x, y, 1e-9)


def test_all_states_equal_the_full_sum_and_fewer_never_exceed_it(make_batch, rnnt_type, assert_close):
    batch = make_batch(S=6, T=12, frames=(12, 11, 9), symbols=(6, 4, 3))
    full = run(batch, rnnt_type=rnnt_type)
    every = run(batch, torch.arange(7).expand(3, 12, 7), rnnt_type=rnnt_type)
    for x, y in zip(full, every):
        assert_close(x.double(), y.double(), 1e-10)
    last = full[0]
    for prune_range in (5, 3, 2):
        pruned_B = run(batch, ranges_of(batch, prune_range, rnnt_type), rnnt_type=rnnt_type)[0]
        assert (pruned_B >= full[0] - 1e-9).all()
    assert (pruned_B > last + 1e-6).any()


def test_unusable_utterances_are_flagged_and_cost_nothing(make_batch):
    batch = make_batch(frames=(7, 2, 5))
    for ranges_BTR in (None, ranges_of(batch, 3, "modified")):
        found = run(batch, ranges_BTR, rnnt_type="modified", weights=torch.tensor([1.0, torch.inf, 1.0]))
        loss_B, usable_B, enc_grad, pred_grad = found[:4]
        assert usable_B.tolist() == [True, False, True] and usable_B.dtype == torch.bool
        assert loss_B[1] == 0 and (enc_grad[1] == 0).all() and (pred_grad[1] == 0).all()
        assert all(torch.isfinite(x).all() for x in found)


def test_no_tensor_as_large_as_the_logits_exists(make_batch):
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for x in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(x, torch.Tensor):
                    self.numel = max(self.numel, x.numel())
            return result

    B, T, S, V = 4, 200, 20, 30
    batch = make_batch(S=S, T=T, V=V, D=8, frames=(T,) * B, symbols=(S,) * B, dtype=torch.float32)
    ranges_BTR = ranges_of(batch, 5, "regular")
    with Largest() as pruned:
        run(batch, ranges_BTR, weights=torch.ones(B))
    with Largest() as full:
        run(batch, weights=torch.ones(B))
    assert pruned.numel <= B * T * 5 * V // 4
    assert full.numel <= B * T * (S + 1) * V // 4


def test_bfloat16_and_autocast_have_float32_sums(make_batch, assert_close):
    exact = make_batch(dtype=torch.float32, peak=0.7)
    wanted = run(exact, ranges_BTR := ranges_of(exact, 3, "regular"))
    with torch.autocast("cpu", torch.bfloat16):
        automatic = run(exact, ranges_BTR)
    assert automatic[0].dtype == torch.float32 and automatic[4].dtype == torch.float32
    for name in ("enc_BTJ", "pred_BUJ", "weight_VJ", "bias_V"):
        setattr(exact, name, getattr(exact, name).detach().bfloat16().requires_grad_())
    half = run(exact, ranges_BTR)
    assert half[0].dtype == torch.float32 and half[4].dtype == torch.bfloat16
    for x, y, z in zip(automatic, half, wanted):
        assert torch.equal(x, y.to(x.dtype))
        assert_close(x.float(), z.float(), 3e-2)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_dropout_is_drawn_again_from_the_cpu_generator_and_is_the_same_in_both_passes(
    make_batch, tile_nodes, activation
):
    batch = make_batch(S=3, T=4, V=5, D=3, frames=(4, 3), symbols=(3, 1), peak=1.0)

    options = {"blank_id": 1, "activation": activation, "dropout": 0.4}

    def loss(*tensors):
        torch.manual_seed(5)
        return full_joiner_loss(*tensors, batch.symbols_BS, *batch.lengths, **options)[0]

    assert torch.autograd.gradcheck(loss, batch.joiner[:4])
    assert torch.equal(loss(*batch.joiner[:4]), loss(*batch.joiner[:4]))
    first, second = (full_joiner_loss(*batch.joiner, *batch.lengths, **options)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_dropout_keeps_the_mean_and_drops_the_fraction_it_says():
    from rnnt.loss.native import cpu

    rows, columns = torch.arange(200), torch.zeros(200, dtype=torch.int64)
    out = torch.empty(200, 50)
    cpu.hidden(torch.full((200, 50), 0.5), torch.zeros(1, 50), rows, columns, "tanh", 0.3, 7, out)
    kept = out != 0
    assert abs(kept.float().mean().item() - 0.7) < 0.02
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], torch.tanh(torch.tensor(0.5)).item() / 0.7))


def test_repeats_bit_for_bit(make_batch):
    batch = make_batch(S=12, T=60, V=50, D=32, frames=(60, 50, 40), symbols=(12, 9, 3), dtype=torch.float32)
    ranges_BTR = ranges_of(batch, 4, "regular")
    assert all(torch.equal(x, y) for x, y in zip(run(batch, ranges_BTR), run(batch, ranges_BTR)))


def test_equals_the_k2_interface(make_batch, rnnt_type, assert_close):
    batch = make_batch()
    zero_B = torch.zeros(3, dtype=torch.int64)
    boundary = torch.stack((zero_B, zero_B, batch.y_len_B, batch.x_len_B), 1)
    ranges_BTR = ranges_of(batch, 3, rnnt_type)
    enc, pred = losses.do_rnnt_pruning(batch.enc_BTJ, batch.pred_BUJ, ranges_BTR)
    logits = torch.tanh(enc + pred) @ batch.weight_VJ.t() + batch.bias_V
    k2_loss_B = losses.rnnt_loss_pruned(
        logits, batch.symbols_BS, ranges_BTR, 4, boundary, rnnt_type, 0.05, reduction="none"
    )
    assert_close(run(batch, ranges_BTR, rnnt_type=rnnt_type)[0], k2_loss_B, 1e-9)
