"""The steps of `kernels` in PyTorch: the element-wise ones of the joiner loss, and the recursion. For CPU.

Letters: X encoder frames and Y predictor states of the padded batch, flattened; M nodes of a tile; W wavefronts;
N rows of any matrix. `out` arguments are tile buffers that the caller reuses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss.lattice import sum_type
from rnnt.loss.native.band import solve_band
from rnnt.loss.native.wavefront import LOG_ZERO, longest_first, solve_wavefronts

__all__ = ["add_rows_", "hidden", "hidden_grad_", "log_probs", "logit_grads_", "solve", "solve_band"]


def hidden(
    enc_XJ: Tensor, pred_YJ: Tensor, frame_M: Tensor, state_M: Tensor, activation: str, dropout: float, seed: int,
    out: Tensor,
) -> Tensor:  # fmt: skip
    """activation(enc[frame] + pred[state]), of which `dropout` is zeroed and the rest scaled up, (M,J)."""
    torch.index_select(enc_XJ, 0, frame_M, out=out)
    out.add_(pred_YJ.index_select(0, state_M))
    if activation == "relu":
        out.relu_()
    elif out.dtype == sum_type(out.dtype):
        out.mul_(2).sigmoid_().mul_(2).sub_(1)  # is tanh but for rounding (2e-7), and five times as fast
    else:
        out.tanh_()
    if dropout > 0:
        out.mul_(_dropout_mask(out, dropout, seed))
    return out


def _dropout_mask(like: Tensor, dropout: float, seed: int) -> Tensor:
    """1 / (1 - dropout) where an activation is kept and 0 where it is dropped: the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.empty_like(like).bernoulli_(1 - dropout, generator=generator).div_(1 - dropout)


def hidden_grad_(grad_MJ: Tensor, hidden_MJ: Tensor, activation: str, dropout: float, seed: int) -> Tensor:
    """In place: from the gradient of `hidden` to that of enc[frame] + pred[state]."""
    if dropout > 0:
        grad_MJ.mul_(_dropout_mask(grad_MJ, dropout, seed))
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


def add_rows_(to_NJ: Tensor, row_M: Tensor, x_MJ: Tensor, in_order: bool = False) -> None:
    """to[row[m]] += x[m], in the order of m; `in_order` says that no row is less than the one before."""
    to_NJ.index_add_(0, row_M, x_MJ.to(to_NJ.dtype))


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and occupations of a batch of lattices; the recursion is that of `reference.solve`.

    Args:
        px: symbol arcs, (B,S,T+1) regular or (B,S,T) else, float32 or float64.
        py: blank arcs, (B,S+1,T), of the same type.
        s_len_B: S_b, ints on the CPU.
        t_len_B: T_b, likewise.

    Returns:
        score_B (minus infinity where there is no path), px_grad, py_grad (zero there), in the type of px.
    """
    B, U, T = py.shape
    regular = px.shape[2] == T + 1
    end_wave_B = s_len_B + t_len_B if regular else t_len_B
    order_B = longest_first(end_wave_B)
    waves = max(end_wave_B.tolist(), default=0) + 1
    x_BWU, y_BWU = (torch.full((B, waves, U), LOG_ZERO, dtype=torch.float64) for _ in range(2))
    lattices = list(zip(order_B.tolist(), s_len_B[order_B].tolist(), t_len_B[order_B].tolist()))
    for row, (b, S_b, T_b) in enumerate(lattices):
        if not regular and S_b > T_b:
            continue  # no path, whatever the arcs are
        columns = T_b + 1 if regular else T_b
        _nodes(x_BWU[row], S_b, columns, regular).copy_(px[b, :S_b, :columns]).clamp_(min=LOG_ZERO)
        _nodes(y_BWU[row], S_b + 1, T_b, regular).copy_(py[b, : S_b + 1, :T_b]).clamp_(min=LOG_ZERO)
    ordered_B, has_path_B = solve_wavefronts(x_BWU, y_BWU, end_wave_B[order_B], s_len_B[order_B], wraps=False)

    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    for row, (b, S_b, T_b) in enumerate(lattices):
        columns = T_b + 1 if regular else T_b
        px_grad[b, :S_b, :columns] = _nodes(x_BWU[row], S_b, columns, regular)
        py_grad[b, : S_b + 1, :T_b] = _nodes(y_BWU[row], S_b + 1, T_b, regular)
    score_B = torch.empty_like(ordered_B)
    score_B[order_B] = torch.where(has_path_B, ordered_B, -torch.inf)
    return score_B.to(px.dtype), px_grad, py_grad


def _nodes(x_WU: Tensor, S: int, T: int, regular: bool) -> Tensor:
    """x at (s, t), s < S and t < T: a view (S,T) of an utterance's arcs by wavefront, which must be contiguous."""
    U = x_WU.shape[1]
    return x_WU.as_strided((S, T), (U + 1 if regular else 1, U))
