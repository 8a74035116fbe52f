"""The recursion as it is written in the papers: the oracle for the other backends. Slow: one step a lattice node."""

from __future__ import annotations

import torch
from torch import Tensor


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Forward scores a, backward scores b, and the occupations of all arcs.

        a[0,0] = 0     a[s,t] = log(exp(a[s-1,t-d] + px[s-1,t-d]) + exp(a[s,t-1] + py[s,t-1]))
        b[S,T] = 0     b[s,t] = log(exp(px[s,t] + b[s+1,t+d]) + exp(py[s,t] + b[s,t+1]))
        px_grad[s,t] = exp(a[s,t] + px[s,t] + b[s+1,t+d] - a[S,T])
        py_grad[s,t] = exp(a[s,t] + py[s,t] + b[s,t+1] - a[S,T])

    with d = 0 if px has T+1 columns (regular) and d = 1 if it has T (modified, constrained).

    Args: px (B,S,T+1) or (B,S,T); py (B,S+1,T); s_len_B, t_len_B (B,) ints, on any device.
    Returns: score_B (minus infinity where there is no path), px_grad, py_grad (zero there).
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
        if torch.isfinite(score_B[b]):
            here_x = (slice(0, S_b), slice(0, T_b + 1 - d))
            here_y = (slice(0, S_b + 1), slice(0, T_b))
            px_grad[b][here_x] = (alpha[:S_b, : T_b + 1 - d] + px[b][here_x] + beta[1:, d:] - score_B[b]).exp()
            py_grad[b][here_y] = (alpha[:, :T_b] + py[b][here_y] + beta[:, 1:] - score_B[b]).exp()
    return score_B.to(dtype), px_grad.to(dtype), py_grad.to(dtype)
