"""Which implementation computes a loss.

reference  plain PyTorch, as the formulas are written; any device; the others are tested against it
native     CPU: tiled PyTorch with closed-form gradients; CUDA: the same with Triton kernels
k2         an installed k2, where it imports
auto       native
"""

from __future__ import annotations

import torch

from rnnt.loss.lattice import LatticeSolver
from rnnt.loss.native.kernels import kernels_for

BACKENDS = ("auto", "native", "reference", "k2")


def resolve(backend: str) -> str:
    """Replace `auto` by the backend that it stands for.

    Raises:
        ValueError: when `backend` is not one of `BACKENDS`.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    return "native" if backend == "auto" else backend


def lattice_solver(backend: str, device: torch.device) -> LatticeSolver:
    """The recursion of a backend on a device."""
    backend = resolve(backend)
    if backend == "reference":
        from rnnt.loss import reference

        return reference.solve
    if backend == "k2":
        from rnnt.loss.k2 import installed

        return installed.solve
    return kernels_for(device).solve
