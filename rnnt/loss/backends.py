"""Which implementation computes a loss.

reference  plain PyTorch, as the formulas are written; any device; the oracle for the others
native     CPU: tiled PyTorch with closed-form gradients; CUDA: the same with Triton kernels
k2         a real k2, where it imports
auto       native
"""

from __future__ import annotations

import torch

BACKENDS = ("auto", "native", "reference", "k2")


def resolve(backend: str) -> str:
    """`backend` with auto resolved. Raises ValueError if it is not one of BACKENDS."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    return "native" if backend == "auto" else backend


def import_k2():
    """The k2 module. Raises ValueError, with the remedy, where it does not import."""
    try:
        import k2
    except Exception as error:
        raise ValueError(f"backend k2 needs a k2 built for torch {torch.__version__}: {error}") from error
    return k2


def lattice_solver(backend: str, device: torch.device):
    """The function (px, py, s_len_B, t_len_B) -> score_B, px_grad, py_grad of a backend on a device."""
    backend = resolve(backend)
    if backend == "reference":
        from . import recursion_reference

        return recursion_reference.solve
    if backend == "k2":
        return _k2_solve
    return kernels_for(device).solve


def kernels_for(device: torch.device):
    """The module with the native steps for a device."""
    if device.type == "cuda":
        from . import kernels_triton

        return kernels_triton
    from . import kernels_cpu

    return kernels_cpu


def _k2_solve(px, py, s_len_B, t_len_B):
    """The recursion of a real k2, with zero instead of its arbitrary gradient where there is no path."""
    k2 = import_k2()
    zero_B = torch.zeros_like(s_len_B)
    boundary = torch.stack((zero_B, zero_B, s_len_B, t_len_B), 1).to(px.device)
    score_B, (px_grad, py_grad) = k2.mutual_information_recursion(
        px.detach().contiguous(), py.detach().contiguous(), boundary, return_grad=True
    )
    has_path_B11 = (score_B > -1e20)[:, None, None]
    score_B = torch.where(has_path_B11[:, 0, 0], score_B, -torch.inf)
    return score_B, px_grad * has_path_B11, py_grad * has_path_B11
