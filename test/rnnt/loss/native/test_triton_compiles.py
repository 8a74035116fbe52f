"""The Triton kernels compile for a GPU (sm_80), which needs none. The interpreter does not check types as this does."""

import os

import pytest
import torch

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter replaces the compiler"
)

SUMS = {"fp32": "fp32", "bf16": "fp32", "fp64": "fp64"}


@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("lanes", [2, 128])
def test_recursion(regular, lanes, compile_for_gpu):
    from rnnt.loss.native import triton_recursion

    types = ["*fp64"] * 2 + ["*i64"] * 4 + ["*fp64"] * 5 + ["i32"]
    ptx = compile_for_gpu(triton_recursion._solve_kernel, types, REGULAR=regular, LANES=lanes)
    assert "bar.sync" in ptx and "atom" not in ptx


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("tanh,dropout", [(True, False), (False, True)])
def test_activation(kind, tanh, dropout, compile_for_gpu):
    from rnnt.loss.native import triton_kernels

    constants = {
        "TANH": tanh,
        "DROPOUT": dropout,
        "SUM": getattr(triton.language, {"fp64": "float64"}.get(kind, "float32")),
    }
    blocks = {"ROWS": triton_kernels.ROWS, "COLUMNS": triton_kernels.COLUMNS}
    scalars = ["i32", "i32", "i64", "fp32"]
    forward = ["*" + kind] * 2 + ["*i64"] * 2 + ["*" + kind] + scalars
    assert "st.global" in compile_for_gpu(triton_kernels._hidden_kernel, forward, **constants, **blocks)
    backward = ["*" + kind] * 2 + scalars
    assert "st.global" in compile_for_gpu(triton_kernels._hidden_grad_kernel, backward, **constants, **blocks)


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("vocab", [500, 5000])
def test_vocabulary(kind, vocab, compile_for_gpu):
    from rnnt.loss.native import triton_kernels

    total = "*" + SUMS[kind]
    kinds = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16}
    constants = {"V": vocab, "BLOCK": triton_kernels._vocab_block(vocab), "SUM": triton_kernels._sum_type(kinds[kind])}
    types = ["*" + kind, "*i64", total, total, "i32"]
    for kernel in (triton_kernels._log_probs_kernel, triton_kernels._logit_grads_kernel):
        assert "st.global" in compile_for_gpu(kernel, types, **constants)


@pytest.mark.parametrize("kind", SUMS)
def test_row_sums(kind, compile_for_gpu):
    from rnnt.loss.native import triton_kernels

    total = triton.language.float64 if kind == "fp64" else triton.language.float32
    types = ["*" + SUMS[kind], "*" + kind, "*i64", "*i64", "i32"]
    blocks = {"SUM": total, "ROWS": triton_kernels.ROWS, "COLUMNS": triton_kernels.COLUMNS}
    assert "st.global" in compile_for_gpu(triton_kernels._add_rows_kernel, types, **blocks)
