"""The Triton kernels compile for a GPU (sm_80), which needs none. The interpreter does not check types as this does."""

import os

import pytest
import torch

triton = pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter replaces the compiler"
)

SUMS = {"fp32": "fp32", "bf16": "fp32", "fp64": "fp64"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compile_for_gpu(kernel, types, **constants):
    """The PTX of a kernel, with the types of its arguments in order and its compile-time constants."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = [name for name in kernel.arg_names if name not in constants]
    assert len(names) == len(types), (names, types)
    signature = {**dict(zip(names, types)), **dict.fromkeys(constants, "constexpr")}
    source = ASTSource(
        fn=kernel,
        signature={name: signature[name] for name in kernel.arg_names},
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    return triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]


@pytest.mark.parametrize("regular", [True, False])
@pytest.mark.parametrize("lanes", [2, 128])
def test_recursion(regular, lanes):
    from rnnt.loss import recursion_triton

    types = ["*fp64"] * 2 + ["*i64"] * 4 + ["*fp64"] * 5 + ["i32"]
    ptx = compile_for_gpu(recursion_triton._solve_kernel, types, REGULAR=regular, LANES=lanes)
    assert "bar.sync" in ptx and "atom" not in ptx


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("tanh,dropout", [(True, False), (False, True)])
def test_activation(kind, tanh, dropout):
    from rnnt.loss import kernels_triton

    constants = {
        "TANH": tanh,
        "DROPOUT": dropout,
        "SUM": getattr(triton.language, {"fp64": "float64"}.get(kind, "float32")),
    }
    blocks = {"ROWS": kernels_triton.ROWS, "COLUMNS": kernels_triton.COLUMNS}
    scalars = ["i32", "i32", "i64", "fp32"]
    forward = ["*" + kind] * 2 + ["*i64"] * 2 + ["*" + kind] + scalars
    assert "st.global" in compile_for_gpu(kernels_triton._hidden_kernel, forward, **constants, **blocks)
    backward = ["*" + kind] * 2 + scalars
    assert "st.global" in compile_for_gpu(kernels_triton._hidden_grad_kernel, backward, **constants, **blocks)


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("vocab", [500, 5000])
def test_vocabulary(kind, vocab):
    from rnnt.loss import kernels_triton

    total = "*" + SUMS[kind]
    kinds = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16}
    constants = {"V": vocab, "BLOCK": kernels_triton._vocab_block(vocab), "SUM": kernels_triton._sum_type(kinds[kind])}
    types = ["*" + kind, "*i64", total, total, "i32"]
    for kernel in (kernels_triton._log_probs_kernel, kernels_triton._logit_grads_kernel):
        assert "st.global" in compile_for_gpu(kernel, types, **constants)
