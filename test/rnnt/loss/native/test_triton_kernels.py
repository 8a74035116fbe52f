"""The Triton kernels: on a GPU where there is one, else in Triton's interpreter on small shapes.

The interpreter must be chosen before Triton is imported, so there the tests run in a process of their own.
"""

import os

import pytest
import torch

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
runs_here = pytest.mark.skipif(
    not INTERPRETED and DEVICE.type == "cpu", reason="runs in a process with the interpreter"
)


@pytest.mark.skipif(INTERPRETED or DEVICE.type == "cuda", reason="only starts the tests below")
def test_all_of_this_file_in_the_interpreter(run_in_triton_interpreter):
    run_in_triton_interpreter(__file__)


@pytest.fixture
def triton_kernels(monkeypatch):
    """Makes the native losses use the Triton kernels, also on the CPU."""
    from rnnt.loss import backends
    from rnnt.loss.native import joiner, simple, triton_kernels

    for module in (backends, joiner, simple):
        monkeypatch.setattr(module, "kernels_for", lambda device: triton_kernels)
    return triton_kernels


def bounds(*rows):
    return torch.tensor([[0, 0, s, t] for s, t in rows])


@runs_here
def test_recursion(triton_kernels, rnnt_type, assert_close):
    from rnnt.loss import mutual_information_recursion

    columns = 7 if rnnt_type == "regular" else 6
    px = torch.randn(4, 5, columns, dtype=torch.float64, device=DEVICE)
    py = torch.randn(4, 6, 6, dtype=torch.float64, device=DEVICE)
    px[2, 1] = -torch.inf
    boundary = bounds((5, 6), (3, 4), (4, 6), (0, 3))
    score_B, grads = mutual_information_recursion(px, py, boundary, True)
    wanted_B, wanted = mutual_information_recursion(px.cpu(), py.cpu(), boundary, True, backend="reference")
    assert score_B[2] == wanted_B[2] == -torch.inf
    assert_close(score_B[[0, 1, 3]].cpu(), wanted_B[[0, 1, 3]], 1e-12)
    for found, expected in zip(grads, wanted):
        assert_close(found.cpu(), expected, 1e-12)


def both_losses(batch, rnnt_type, backend, device, dropout=0.0):
    """Losses and gradients of the trainer's three losses."""
    from rnnt.loss import full_joiner_loss, prune_ranges, pruned_joiner_loss, smoothed_loss

    names = ("am_BTV", "lm_BUV", "enc_BTJ", "pred_BUJ", "weight_VJ", "bias_V")
    am, lm, enc, pred, weight, bias = leaves = [getattr(batch, n).detach().to(device).requires_grad_() for n in names]
    symbols, lengths = batch.symbols_BS.to(device), batch.lengths
    options = {"blank_id": 4, "rnnt_type": rnnt_type, "delay_penalty": 0.05, "backend": backend}
    scales = {"lm_only_scale": 0.25, "am_only_scale": 0.1}
    simple_B, px_grad, py_grad = smoothed_loss(am, lm, symbols, *lengths, **scales, **options)
    ranges = prune_ranges(px_grad, py_grad, *lengths, 3, rnnt_type)
    pruned_B, usable_B = pruned_joiner_loss(enc, pred, weight, bias, symbols, ranges, *lengths, **options)
    full_B, _ = full_joiner_loss(enc, pred, weight, bias, symbols, *lengths, dropout=dropout, **options)
    losses = (simple_B, pruned_B, full_B)
    weights = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64, device=device)
    grads = torch.autograd.grad(sum((x * weights).sum() for x in losses), leaves)
    return [*losses, usable_B, px_grad, py_grad, *grads]


@runs_here
@pytest.mark.parametrize(
    "case",
    [
        {"S": 3, "frames": (4, 3, 2), "symbols": (3, 1, 0)},
        {"S": 0, "frames": (4, 3, 2), "symbols": (0, 0, 0)},
        {"S": 5, "frames": (4, 3, 0), "symbols": (3, 5, 2)},
    ],
)
def test_losses_equal_reference(triton_kernels, make_batch, rnnt_type, case, assert_close):
    batch = make_batch(T=4, V=5, D=3, **case)
    native = both_losses(batch, rnnt_type, "native", DEVICE)
    reference = both_losses(batch, rnnt_type, "reference", "cpu")
    for found, expected in zip(native, reference):
        assert_close(found.cpu().double(), expected.double(), 1e-9)


@runs_here
def test_a_nan_is_not_a_missing_path(triton_kernels, make_batch, rnnt_type):
    """Every loss of the utterance and its gradients are NaN; the others are those without it."""
    batch = make_batch(S=3, T=4, V=5, D=3, frames=(4, 3, 2), symbols=(3, 2, 3))
    clean = both_losses(batch, rnnt_type, "native", DEVICE)
    with torch.no_grad():
        batch.enc_BTJ[1, 1], batch.am_BTV[1, 1] = torch.nan, torch.nan
    found = both_losses(batch, rnnt_type, "native", DEVICE)
    for loss_B, clean_B in zip(found[:3], clean):
        assert torch.isnan(loss_B).tolist() == [False, True, False]
        assert torch.equal(loss_B[[0, 2]], clean_B[[0, 2]])
    assert found[3].tolist() == [True, True, rnnt_type == "regular"]
    am_grad, enc_grad = found[6], found[8]
    assert torch.isnan(am_grad[1]).any() and torch.isnan(enc_grad[1]).any() and torch.isfinite(enc_grad[::2]).all()


@runs_here
def test_relu_keeps_a_nan(triton_kernels):
    x = torch.tensor([[torch.nan, -1.0, 2.0]], device=DEVICE)
    row = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    out = triton_kernels.hidden(x, 0 * x.nan_to_num(), row, row, "relu", 0.0, 0, out=torch.empty_like(x))
    assert torch.isnan(out[0, 0]) and out[0, 1:].tolist() == [0.0, 2.0]
    grad = triton_kernels.hidden_grad_(torch.full_like(x, torch.nan), out, "relu", 0.0, 0)
    assert torch.isnan(grad[0]).tolist() == [True, False, True]


@runs_here
def test_windows_that_begin_above_state_0_and_an_empty_batch(triton_kernels, make_batch, rnnt_type):
    from rnnt.loss import pruned_joiner_loss

    batch = make_batch(S=3, T=4, V=5, D=3, frames=(4, 4), symbols=(3, 3))
    starts = torch.tensor([[0, 1, 2, 2], [2, 2, 2, 2]])
    for part in (slice(2), slice(0)):
        tensors = [x.detach()[part if x.shape[0] == 2 else slice(None)].to(DEVICE) for x in batch.joiner[:4]]
        tensors = [x.requires_grad_() for x in tensors]
        ranges = (starts[part, :, None] + torch.arange(2)).to(DEVICE)
        lengths = [n[part] for n in batch.lengths]
        symbols = batch.symbols_BS[part].to(DEVICE)
        loss_B, usable_B = pruned_joiner_loss(*tensors, symbols, ranges, *lengths, blank_id=4, rnnt_type=rnnt_type)
        assert usable_B.tolist() == [True, False][part] and (loss_B > 0).tolist() == [True, False][part]
        grads = torch.autograd.grad(loss_B.sum(), tensors)
        assert (grads[0][1:] == 0).all()


@runs_here
def test_relu_and_long_rows(triton_kernels, assert_close):
    """A vocabulary of more than one step, and a joiner wider than one program."""
    from rnnt.loss.native import cpu

    torch.manual_seed(0)
    enc, pred = torch.randn(5, 200, device=DEVICE), torch.randn(4, 200, device=DEVICE)
    frame, state = torch.tensor([0, 0, 2, 4, 4, 1, 3, 3, 2], device=DEVICE), torch.arange(9, device=DEVICE) % 4
    for activation in ("relu", "tanh"):
        args = (enc, pred, frame, state, activation, 0.0, 0)
        out = triton_kernels.hidden(*args, out=torch.empty(9, 200, device=DEVICE))
        wanted = cpu.hidden(*args, out=torch.empty(9, 200, device=DEVICE))
        assert_close(out, wanted, 1e-6)
        grad = torch.randn(9, 200, device=DEVICE)
        found = triton_kernels.hidden_grad_(grad.clone(), out, activation, 0.0, 0)
        assert_close(found, cpu.hidden_grad_(grad.clone(), out, activation, 0.0, 0), 1e-6)
    logits, symbol = 3 * torch.randn(9, 5000, device=DEVICE), 555 * torch.arange(9, device=DEVICE)
    for found, wanted in zip(
        triton_kernels.log_probs(logits, symbol, 4999), cpu.log_probs(logits.clone(), symbol, 4999)
    ):
        assert_close(found, wanted, 1e-6)
    weights = torch.rand(2, 9, device=DEVICE)
    found = triton_kernels.logit_grads_(logits.clone(), symbol, 4999, *weights)
    assert_close(found, cpu.logit_grads_(logits.clone(), symbol, 4999, *weights), 1e-6)
    half = triton_kernels.logit_grads_(logits.bfloat16(), symbol, 4999, *weights)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), found, 2e-2)


@runs_here
@pytest.mark.parametrize("in_order", [True, False])
def test_rows_are_added(triton_kernels, in_order, assert_close):
    """Some rows get none, some more than a program takes at once, and what was there stays."""
    from rnnt.loss.native import cpu

    torch.manual_seed(0)
    row = torch.tensor([1] * 3 + [2] + [5] * 19 + [6] * 2, device=DEVICE)
    row = row if in_order else row[torch.randperm(len(row))]
    x, to = torch.randn(len(row), 130, device=DEVICE), torch.randn(8, 130, device=DEVICE)
    found, wanted = to.clone(), to.clone()
    triton_kernels.add_rows_(found, row, x, in_order)
    cpu.add_rows_(wanted, row, x, in_order)
    assert_close(found, wanted, 1e-6)
    assert torch.equal(found[[0, 3, 4, 7]], to[[0, 3, 4, 7]])


@runs_here
def test_dropout(triton_kernels, make_batch):
    batch = make_batch(S=3, T=4, V=5, D=3, frames=(4, 3), symbols=(3, 1), peak=1.0)
    from rnnt.loss import full_joiner_loss

    tensors = [x.detach().to(DEVICE).requires_grad_() for x in batch.joiner[:4]]

    def loss(*tensors):
        torch.manual_seed(5)
        args = (batch.symbols_BS.to(DEVICE), *batch.lengths)
        return full_joiner_loss(*tensors, *args, blank_id=1, dropout=0.4)[0]

    assert torch.autograd.gradcheck(loss, tensors, fast_mode=True)
    ones = torch.full((50, 40), 1.0, device=DEVICE)
    rows, zeros = torch.arange(50, device=DEVICE), torch.zeros(50, dtype=torch.int64, device=DEVICE)
    out = triton_kernels.hidden(ones, 0 * ones[:1], rows, zeros, "relu", 0.3, 7, out=torch.empty_like(ones))
    assert abs((out != 0).float().mean().item() - 0.7) < 0.04
    assert torch.allclose(out[out != 0], torch.tensor(1 / 0.7, device=DEVICE))


@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU")
def test_repeats_bit_for_bit(triton_kernels, make_batch):
    batch = make_batch(dtype=torch.float32)
    first, second = (both_losses(batch, "regular", "native", DEVICE) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second))


@pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_shapes_on_a_gpu(make_batch, dtype, assert_close):
    frames, symbols = tuple(range(440, 220, -8)), tuple(range(104, 52, -2)) + (0, 1)
    batch = make_batch(S=104, T=440, V=500, D=512, frames=frames, symbols=symbols, dtype=dtype, peak=0.1)
    from rnnt.loss import full_joiner_loss

    def run(device, backend):
        tensors = [x.detach().to(device).float().to(dtype).requires_grad_() for x in batch.joiner[:4]]
        args = (batch.symbols_BS.to(device), *batch.lengths)
        loss_B, _ = full_joiner_loss(*tensors, *args, blank_id=0, backend=backend)
        return [loss_B, *torch.autograd.grad(loss_B.sum(), tensors)]

    rel = 1e-4 if dtype == torch.float32 else 3e-2
    for found, expected in zip(run("cuda", "native"), run("cpu", "native")):
        assert_close(found.cpu().float(), expected.float(), rel)
