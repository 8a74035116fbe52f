"""The Triton kernels of the activations, beside PyTorch's: on a GPU, else in Triton's interpreter, and compiled."""

import os

import pytest
import torch

from rnnt.ops import swoosh as ops

triton = pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu")
runs_here = pytest.mark.skipif(
    not INTERPRETED and DEVICE.type == "cpu", reason="runs in a process with the interpreter"
)


@pytest.mark.skipif(INTERPRETED or DEVICE.type == "cuda", reason="only starts the tests below")
def test_all_of_this_file_in_the_interpreter(run_in_triton_interpreter):
    run_in_triton_interpreter(__file__)


def make_inputs(dtype, layout):
    generator = torch.Generator().manual_seed(0)
    x = 8 * torch.randn(3, 50, 24, generator=generator, dtype=torch.float64)
    x[0, 0, :4] = torch.tensor([90.0, -90.0, 1000.0, -1000.0])
    grad = torch.randn(3, 50, 24, generator=generator, dtype=torch.float64)
    x, grad = (t.to(DEVICE, dtype) for t in (x, grad))
    if layout == "transposed":
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "with gaps":
        x = torch.stack([x, x], dim=3)[..., 0]
    return x, grad


@runs_here
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "with gaps"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [ops.LEFT, ops.RIGHT])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_and_gradients(dtype, kind, masked, layout, monkeypatch):
    from rnnt.ops import triton_swoosh

    x, grad = make_inputs(dtype, layout)
    mask = (torch.arange(3 * 24).view(3, 1, 24) % 5 != 0).to(DEVICE, dtype) * 1.25 if masked else None
    wide = [None if t is None else t.double().cpu() for t in (x, grad, mask)]
    wanted = ops.swoosh(wide[0], kind, wide[2]), ops.swoosh_grad(wide[1], wide[0], kind, wide[2])
    monkeypatch.setattr(ops, "_kernels", lambda x: triton_swoosh)
    before = x.clone(), grad.clone()
    y = ops.swoosh(x, kind, mask)
    x_grad = ops.swoosh_grad(grad, x, kind, mask)
    again = ops.swoosh_grad(grad, x, kind, mask, out=y.clone())
    assert torch.equal(x_grad, again) and torch.equal(x, before[0]) and torch.equal(grad, before[1])
    bounds = {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    for found, right in zip((y, x_grad), wanted):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double().cpu(), right, **bounds)


@runs_here
def test_nothing(monkeypatch):
    from rnnt.ops import triton_swoosh

    monkeypatch.setattr(ops, "_kernels", lambda x: triton_swoosh)
    x = torch.zeros(0, 5, 4, device=DEVICE)
    assert ops.swoosh(x, ops.LEFT).shape == ops.swoosh_grad(x, x, ops.LEFT).shape == (0, 5, 4)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter replaces the compiler")
@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("masked", [False, True])
def test_compiles_for_a_gpu(kind, masked, compile_for_gpu):
    from rnnt.ops import triton_swoosh

    sums = triton.language.float64 if kind == "fp64" else triton.language.float32
    constants = {"SLOPE": 0.08, "OFFSET": 4.0, "CONSTANT": 0.035, "CHANNELS": 24 if masked else 1, "MASKED": masked}
    for wide in (False, True):
        sizes = {"SUM": sums, "WIDE": wide, "BLOCK": triton_swoosh.BLOCK}
        length = "i64" if wide else "i32"
        for kernel, pointers in ((triton_swoosh._activation_kernel, 3), (triton_swoosh._gradient_kernel, 4)):
            ptx = compile_for_gpu(kernel, [f"*{kind}"] * pointers + [length, "i32"], **constants, **sizes)
            assert "st.global" in ptx
