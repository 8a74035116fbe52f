"""The steps of the native losses that differ by device, and the module that has them for a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rnnt.loss.native.band import Band


class Kernels(Protocol):
    """What `cpu` and `triton_kernels` both define; the docstrings are those of `cpu`.

    Letters: X encoder frames and Y predictor states of the padded batch, flattened; M nodes of a tile; N packed frames.
    """

    def hidden(
        self, enc_XJ: Tensor, pred_YJ: Tensor, frame_M: Tensor, state_M: Tensor, activation: str, dropout: float,
        seed: int, out: Tensor,
    ) -> Tensor: ...  # fmt: skip

    def hidden_grad_(
        self, grad_MJ: Tensor, hidden_MJ: Tensor, activation: str, dropout: float, seed: int
    ) -> Tensor: ...

    def log_probs(self, logits_MV: Tensor, symbol_M: Tensor, blank: int) -> tuple[Tensor, Tensor]: ...

    def logit_grads_(
        self, logits_MV: Tensor, symbol_M: Tensor, blank: int, symbol_grad_M: Tensor, blank_grad_M: Tensor
    ) -> Tensor: ...

    def add_rows_(self, to_NJ: Tensor, row_M: Tensor, x_MJ: Tensor, in_order: bool = False) -> None: ...

    def solve(self, px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...

    def solve_band(self, px_NR: Tensor, py_NR: Tensor, band: Band, regular: bool) -> tuple[Tensor, Tensor, Tensor]: ...


def kernels_for(device: torch.device) -> Kernels:
    """The module with the kernels for a device: Triton's on CUDA, else PyTorch's."""
    if device.type == "cuda":
        from rnnt.loss.native import triton_kernels

        return triton_kernels
    from rnnt.loss.native import cpu

    return cpu
