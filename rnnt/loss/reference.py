"""The losses as the papers write them: plain formulas, autograd, and a recursion of one step per lattice node.

Slow, and it keeps everything in memory. The native losses are tested against it, so it shares no code with them: only
the definitions of the lattice and the formulas of its arcs in `k2.logprobs`, which the native losses do not use.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss.k2 import logprobs
from rnnt.loss.lattice import LatticeScore, delay_penalty_term, has_path, sum_type
from rnnt.loss.options import JoinerInputs, JoinerLossOptions, SimpleLossOptions

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Forward scores a, backward scores b, and the occupations of all arcs.

        a[0,0] = 0     a[s,t] = log(exp(a[s-1,t-d] + px[s-1,t-d]) + exp(a[s,t-1] + py[s,t-1]))
        b[S,T] = 0     b[s,t] = log(exp(px[s,t] + b[s+1,t+d]) + exp(py[s,t] + b[s,t+1]))
        px_grad[s,t] = exp(a[s,t] + px[s,t] + b[s+1,t+d] - a[S,T])
        py_grad[s,t] = exp(a[s,t] + py[s,t] + b[s,t+1] - a[S,T])

    with d = 0 if px has T+1 columns (regular) and d = 1 if it has T (modified, constrained).

    Args:
        px: symbol arcs, (B,S,T+1) or (B,S,T).
        py: blank arcs, (B,S+1,T).
        s_len_B: S_b, ints on any device.
        t_len_B: T_b, likewise.

    Returns:
        score_B (minus infinity where there is no path), px_grad, py_grad (zero there).
    """
    dtype = px.dtype
    px, py = px.double(), py.double()
    B, S, columns = px.shape
    T = py.shape[2]
    d = 1 - (columns - T)
    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    score_B = px.new_full((B,), -torch.inf)
    for b, (S_b, T_b) in enumerate(zip(s_len_B.tolist(), t_len_B.tolist())):
        alpha = px.new_full((S_b + 1, T_b + 1), -torch.inf)
        beta = alpha.clone()
        alpha[0, 0] = beta[S_b, T_b] = 0
        for s in range(S_b + 1):
            for t in range(T_b + 1):
                if s > 0 and t - d >= 0:
                    alpha[s, t] = torch.logaddexp(alpha[s, t], alpha[s - 1, t - d] + px[b, s - 1, t - d])
                if t > 0:
                    alpha[s, t] = torch.logaddexp(alpha[s, t], alpha[s, t - 1] + py[b, s, t - 1])
        for s in reversed(range(S_b + 1)):
            for t in reversed(range(T_b + 1)):
                if s < S_b and t + d <= T_b:
                    beta[s, t] = torch.logaddexp(beta[s, t], px[b, s, t] + beta[s + 1, t + d])
                if t < T_b:
                    beta[s, t] = torch.logaddexp(beta[s, t], py[b, s, t] + beta[s, t + 1])
        score_B[b] = alpha[S_b, T_b]
        if score_B[b] != -torch.inf:
            left_by_symbol = (slice(0, S_b), slice(0, T_b + 1 - d))
            left_by_blank = (slice(0, S_b + 1), slice(0, T_b))
            px_grad[b][left_by_symbol] = (
                alpha[:S_b, : T_b + 1 - d] + px[b][left_by_symbol] + beta[1:, d:] - score_B[b]
            ).exp()
            py_grad[b][left_by_blank] = (alpha[:, :T_b] + py[b][left_by_blank] + beta[:, 1:] - score_B[b]).exp()
    return score_B.to(dtype), px_grad.to(dtype), py_grad.to(dtype)


def smoothed_loss(
    am_BTV: Tensor, lm_BUV: Tensor, symbols_BS: Tensor, x_len_B: Tensor, y_len_B: Tensor, options: SimpleLossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """As `rnnt.loss.simple.smoothed_loss`."""
    am_BTV, lm_BUV = (x.to(sum_type(x.dtype)) for x in (am_BTV, lm_BUV))
    boundary = k2_boundary(x_len_B, y_len_B, am_BTV.device)
    scales = (options.lm_only_scale, options.am_only_scale)
    px, py = logprobs.get_rnnt_logprobs_smoothed(
        lm_BUV, am_BTV, symbols_BS, options.blank, *scales, boundary, options.rnnt_type
    )
    loss_B, usable_B, px_grad, py_grad = _loss(px, py, x_len_B, y_len_B, options)
    return torch.where(usable_B, loss_B, 0.0), px_grad, py_grad


def joiner_loss(
    inputs: JoinerInputs,
    symbols_BS: Tensor,
    ranges_BTR: Tensor | None,
    x_len_B: Tensor,
    y_len_B: Tensor,
    options: JoinerLossOptions,
) -> tuple[Tensor, Tensor]:
    """As `rnnt.loss.joiner.pruned_joiner_loss`, and where `ranges_BTR` is None as `full_joiner_loss`."""
    boundary = k2_boundary(x_len_B, y_len_B, inputs.enc_BTJ.device)
    logits = joiner_logits(inputs, ranges_BTR, options.activation, options.dropout)
    blank, rnnt_type = options.blank, options.rnnt_type
    if ranges_BTR is None:
        px, py = logprobs.get_rnnt_logprobs_joint(logits, symbols_BS, blank, rnnt_type, boundary)
    else:
        px, py = logprobs.get_rnnt_logprobs_pruned(logits, symbols_BS, ranges_BTR, blank, boundary, rnnt_type)
    loss_B, usable_B, _, _ = _loss(px, py, x_len_B, y_len_B, options)
    return torch.where(usable_B, loss_B, 0.0), usable_B


def joiner_logits(inputs: JoinerInputs, ranges_BTR: Tensor | None, activation: str, dropout: float) -> Tensor:
    """W activation(enc[t] + pred[s]) + bias: (B,T,R,V) at the states of `ranges_BTR`, (B,T,U,V) without ranges."""
    if ranges_BTR is None:
        pred = inputs.pred_BUJ[:, None]
    else:
        utterance_B11 = torch.arange(len(ranges_BTR), device=ranges_BTR.device)[:, None, None]
        pred = inputs.pred_BUJ[utterance_B11, ranges_BTR]
    hidden = torch.nn.functional.dropout(ACTIVATIONS[activation](inputs.enc_BTJ[:, :, None] + pred), dropout)
    logits = torch.nn.functional.linear(hidden, inputs.weight_VJ, inputs.bias_V)
    return logits.to(sum_type(logits.dtype))


def _loss(
    px: Tensor, py: Tensor, x_len_B: Tensor, y_len_B: Tensor, options: SimpleLossOptions | JoinerLossOptions
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """loss_B, which utterances have a path, and the occupations of symbol and blank arcs."""
    if options.delay_penalty > 0:
        t_T = torch.arange(px.shape[2], device=px.device)
        px = px + delay_penalty_term(x_len_B.to(px.device)[:, None, None], t_T, options.delay_penalty, px.dtype)
    score_B, px_grad, py_grad = LatticeScore.apply(px, py, y_len_B, x_len_B, solve)
    # Ranges may leave an utterance without a path that its lengths allow.
    usable_B = has_path(x_len_B, y_len_B, options.rnnt_type).to(px.device) & (score_B.detach() != -torch.inf)
    return -score_B, usable_B, px_grad, py_grad


def k2_boundary(x_len_B: Tensor, y_len_B: Tensor, device: torch.device) -> Tensor:
    """k2's boundary (B,4) of lattices that begin at 0: zero, zero, tokens, frames."""
    zero_B = torch.zeros_like(x_len_B)
    return torch.stack((zero_B, zero_B, y_len_B, x_len_B), 1).to(device)
