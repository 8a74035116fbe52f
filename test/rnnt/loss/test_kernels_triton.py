"""The Triton kernels: on a GPU where there is one, else in Triton's interpreter on small shapes.

The interpreter must be chosen before Triton is imported, so there the tests run in a process of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
runs_here = pytest.mark.skipif(
    not INTERPRETED and DEVICE.type == "cpu", reason="runs in a process with the interpreter"
)


@pytest.mark.skipif(INTERPRETED or DEVICE.type == "cuda", reason="only starts the tests below")
def test_all_of_this_file_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider", __file__]
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.fixture
def triton_kernels(monkeypatch):
    """Makes the native losses use the Triton kernels, also on the CPU."""
    from rnnt.loss import backends, joiner_native, kernels_triton, simple_native

    for module in (backends, joiner_native, simple_native):
        monkeypatch.setattr(module, "kernels_for", lambda device: kernels_triton)
    return kernels_triton


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
def test_relu_and_long_rows(triton_kernels, assert_close):
    """A vocabulary of more than one step, and a joiner wider than one program."""
    from rnnt.loss import kernels_cpu, kernels_triton

    torch.manual_seed(0)
    enc, pred = torch.randn(5, 200, device=DEVICE), torch.randn(4, 200, device=DEVICE)
    frame, context = torch.tensor([0, 0, 2, 4, 4, 1, 3, 3, 2], device=DEVICE), torch.arange(9, device=DEVICE) % 4
    for activation in ("relu", "tanh"):
        args = (enc, pred, frame, context, activation, 0.0, 0)
        out = kernels_triton.hidden(*args, out=torch.empty(9, 200, device=DEVICE))
        wanted = kernels_cpu.hidden(*args, out=torch.empty(9, 200, device=DEVICE))
        assert_close(out, wanted, 1e-6)
        grad = torch.randn(9, 200, device=DEVICE)
        found = kernels_triton.hidden_grad_(grad.clone(), out, activation, 0.0, 0)
        assert_close(found, kernels_cpu.hidden_grad_(grad.clone(), out, activation, 0.0, 0), 1e-6)
    logits, symbol = 3 * torch.randn(9, 5000, device=DEVICE), 555 * torch.arange(9, device=DEVICE)
    for found, wanted in zip(
        kernels_triton.log_probs(logits, symbol, 4999), kernels_cpu.log_probs(logits.clone(), symbol, 4999)
    ):
        assert_close(found, wanted, 1e-6)
    weights = torch.rand(2, 9, device=DEVICE)
    found = kernels_triton.logit_grads_(logits.clone(), symbol, 4999, *weights)
    assert_close(found, kernels_cpu.logit_grads_(logits.clone(), symbol, 4999, *weights), 1e-6)
    half = kernels_triton.logit_grads_(logits.bfloat16(), symbol, 4999, *weights)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), found, 2e-2)


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
