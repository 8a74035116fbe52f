"""The element-wise steps of the joiner loss on rows of a tile, in PyTorch. kernels_triton has the same functions.

M rows are (frame, context) nodes. `out` arguments are tile buffers that the caller reuses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .band import solve_band
from .lattice import sum_type
from .recursion import solve

__all__ = ["add_rows_", "hidden", "hidden_grad_", "log_probs", "logit_grads_", "solve", "solve_band"]


def hidden(
    enc_NJ: Tensor, pred_NJ: Tensor, frame_M: Tensor, context_M: Tensor, activation: str, dropout: float, seed: int,
    out: Tensor,
) -> Tensor:  # fmt: skip
    """activation(enc[frame] + pred[context]), of which `dropout` is zeroed and the rest scaled up, (M,J)."""
    torch.index_select(enc_NJ, 0, frame_M, out=out)
    out.add_(pred_NJ.index_select(0, context_M))
    if activation == "relu":
        out.relu_()
    elif out.dtype == sum_type(out.dtype):
        out.mul_(2).sigmoid_().mul_(2).sub_(1)  # is tanh but for rounding (2e-7), and five times as fast
    else:
        out.tanh_()
    if dropout > 0:
        out.mul_(_kept(out, dropout, seed))
    return out


def _kept(like: Tensor, dropout: float, seed: int) -> Tensor:
    """1 / (1 - dropout) where an activation is kept and 0 where it is dropped: the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.empty_like(like).bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)


def hidden_grad_(grad_MJ: Tensor, hidden_MJ: Tensor, activation: str, dropout: float, seed: int) -> Tensor:
    """In place: from the gradient of hidden() to that of enc[frame] + pred[context]."""
    if dropout > 0:
        grad_MJ.mul_(_kept(grad_MJ, dropout, seed))
        hidden_MJ = hidden_MJ * (1 - dropout)  # the activation, where it was kept
    if activation == "tanh":
        return torch.ops.aten.tanh_backward.grad_input(grad_MJ, hidden_MJ, grad_input=grad_MJ)
    return grad_MJ.masked_fill_(hidden_MJ <= 0, 0.0)


def log_probs(logits_MV: Tensor, symbol_M: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """log_softmax at the symbol and at blank, two (M,) in the type of sums. Destroys the logits."""
    logits_MV = logits_MV.to(sum_type(logits_MV.dtype))
    torch.log_softmax(logits_MV, 1, out=logits_MV)
    return logits_MV.gather(1, symbol_M[:, None])[:, 0], logits_MV[:, blank].clone()


def logit_grads_(
    logits_MV: Tensor, symbol_M: Tensor, blank: int, symbol_grad_M: Tensor, blank_grad_M: Tensor
) -> Tensor:
    """The gradient, in the type of sums, of sum(symbol_grad * log p(symbol) + blank_grad * log p(blank)).

    Destroys the logits.
    """
    logits_MV = logits_MV.to(sum_type(logits_MV.dtype))
    torch.softmax(logits_MV, 1, out=logits_MV)
    logits_MV.mul_(-(symbol_grad_M + blank_grad_M)[:, None])
    logits_MV[:, blank] += blank_grad_M
    return logits_MV.scatter_add_(1, symbol_M[:, None], symbol_grad_M[:, None])


def add_rows_(to_NJ: Tensor, row_M: Tensor, x_MJ: Tensor) -> None:
    """to[row[m]] += x[m], in the order of m."""
    to_NJ.index_add_(0, row_M, x_MJ.to(to_NJ.dtype))
