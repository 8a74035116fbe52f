"""Log-probabilities of the arcs, with k2's functions of the same names: what the recursion runs on.

Everything here is differentiable PyTorch, and so also what the tiled losses are tested against. `boundary` is (B,4)
int64 with rows [first symbol, first frame, one past the last symbol, one past the last frame]; None means [0, 0, S, T].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnt.loss.lattice import check_rnnt_type


def _to_lattice_arcs(px: Tensor, py: Tensor, rnnt_type: str, boundary: Tensor | None) -> tuple[Tensor, Tensor]:
    """From px (B,S,T), py (B,S+1,T) of single arcs to the arcs of the lattice type.

    regular: no symbol is emitted once all frames are consumed, so there is a column t = T_b of minus infinity.
    constrained: a symbol is followed by the blank of the new state on the same frame.
    """
    if rnnt_type == "constrained":
        return px + py[:, 1:], py
    if rnnt_type == "regular":
        px = torch.nn.functional.pad(px, (0, 1), value=-torch.inf)
        if boundary is not None:
            t_T = torch.arange(px.shape[2], device=px.device)
            px = px.masked_fill(t_T == boundary[:, 3, None, None].to(px.device), -torch.inf)
    return px, py


def _symbol_and_blank(x_BTV: Tensor, symbols_BS: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """x at the symbols, (B,S,T), and at blank, (B,1,T)."""
    T = x_BTV.shape[1]
    at_symbols = x_BTV.gather(2, symbols_BS[:, None, :].expand(-1, T, -1)).transpose(1, 2)
    return at_symbols, x_BTV[:, None, :, blank]


def _gather_next_symbol(x_BUV: Tensor, symbols_BS: Tensor) -> Tensor:
    """x[b, s, symbols[b, s]], (B,S,1)."""
    return x_BUV[:, :-1].gather(2, symbols_BS[:, :, None])


def get_rnnt_logprobs(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    rnnt_type: str = "regular",
    boundary: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Arcs of the simple (additive) joiner, whose logits are am[b,t] + lm[b,s].

        Z[s,t] = log sum_v exp(am[t,v] + lm[s,v])
        px[s,t] = am[t,y_s] + lm[s,y_s] - Z[s,t],  py[s,t] = am[t,blank] + lm[s,blank] - Z[s,t]

    Z is one matrix product of exponentials, taken relative to the largest value of each state or frame.

    Args:
        lm: (B,S+1,V) unnormalised.
        am: (B,T,V) unnormalised.
        symbols: (B,S) int64.
        termination_symbol: the id of blank.
        rnnt_type: regular, modified or constrained.
        boundary: (B,4) int64 or None.

    Returns:
        px (B,S,T+1) if regular, (B,S,T) else; py (B,S+1,T).

    Raises:
        ValueError: when `rnnt_type` is unknown.
    """
    check_rnnt_type(rnnt_type)
    Z_BUT = _log_normalizer(lm, am)
    am_symbol, am_blank = _symbol_and_blank(am, symbols, termination_symbol)
    px = am_symbol + _gather_next_symbol(lm, symbols) - Z_BUT[:, :-1]
    py = am_blank + lm[:, :, termination_symbol, None] - Z_BUT
    return _to_lattice_arcs(px, py, rnnt_type, boundary)


def _log_normalizer(lm: Tensor, am: Tensor) -> Tensor:
    """log sum_v exp(am[b,t,v] + lm[b,s,v]), (B,S+1,T)."""
    lm_max = lm.detach().amax(2, keepdim=True)
    am_max = am.detach().amax(2, keepdim=True)
    product = torch.matmul((lm - lm_max).exp(), (am - am_max).exp().transpose(1, 2))
    return (product + torch.finfo(am.dtype).tiny).log() + lm_max + am_max.transpose(1, 2)


def get_rnnt_logprobs_smoothed(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    lm_only_scale: float = 0.1,
    am_only_scale: float = 0.1,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
) -> tuple[Tensor, Tensor]:
    """Arcs of the simple joiner, smoothed: log-probabilities interpolated with those of one side alone.

        p = (1 - l - a) * combined + l * lm_only + a * am_only
        lm_only[s,v] = log_softmax(lm[s])[v],  am_only[t,v] = am[t,v] + log u_v - log sum_w exp(am[t,w]) u_w

    with u the mean of softmax(lm) over all states of the batch, padding included. Kuang et al. 2022, section 2.4.

    Args:
        lm: this and the others as in `get_rnnt_logprobs`.
        lm_only_scale: l in [0, 1].
        am_only_scale: a in [0, 1].

    Returns:
        As `get_rnnt_logprobs`.
    """
    check_rnnt_type(rnnt_type)
    blank = termination_symbol
    px, py = get_rnnt_logprobs(lm, am, symbols, blank, "modified")
    px, py = (1 - lm_only_scale - am_only_scale) * px, (1 - lm_only_scale - am_only_scale) * py
    if lm_only_scale != 0:
        lm_only = torch.log_softmax(lm, 2)
        px = px + lm_only_scale * _gather_next_symbol(lm_only, symbols)
        py = py + lm_only_scale * lm_only[:, :, blank, None]
    if am_only_scale != 0:
        unigram_V = torch.softmax(lm, 2).mean((0, 1)) + torch.finfo(lm.dtype).tiny
        am_only = torch.log_softmax(am + unigram_V.log(), 2)
        am_symbol, am_blank = _symbol_and_blank(am_only, symbols, blank)
        px = px + am_only_scale * am_symbol
        py = py + am_only_scale * am_blank
    return _to_lattice_arcs(px, py, rnnt_type, boundary)


def get_rnnt_logprobs_joint(
    logits: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    rnnt_type: str = "regular",
    boundary: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Arcs of a full joiner: log_softmax of the logits at the next symbol and at blank.

    Args:
        logits: (B,T,S+1,V).
        symbols: (B,S) int64.
        termination_symbol: the id of blank.
        rnnt_type: regular, modified or constrained.
        boundary: (B,4) int64 or None.

    Returns:
        px (B,S,T+1) if regular, (B,S,T) else; py (B,S+1,T).

    Raises:
        ValueError: when `rnnt_type` is unknown.
    """
    check_rnnt_type(rnnt_type)
    next_BTU = torch.nn.functional.pad(symbols, (0, 1), value=termination_symbol)[:, None].expand(logits.shape[:3])
    px_BTU, py_BTU = _SymbolAndBlankLogProbs.apply(logits, next_BTU, termination_symbol)
    return _to_lattice_arcs(px_BTU[:, :, :-1].transpose(1, 2), py_BTU.transpose(1, 2), rnnt_type, boundary)


class _SymbolAndBlankLogProbs(torch.autograd.Function):
    """log_softmax(x, -1) at one symbol per row and at blank: x (...,V), symbol (...) -> two (...).

    Its gradient is (g_symbol at symbol) + (g_blank at blank) - (g_symbol + g_blank) softmax(x), in a single buffer;
    autograd's of the same expression takes three more of the size of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, symbol: Tensor, blank: int) -> tuple[Tensor, Tensor]:
        Z = x.logsumexp(-1)
        Z.masked_fill_(torch.isposinf(Z), torch.nan)  # as of log_softmax: an overflow is not a probability of 0
        ctx.save_for_backward(x, symbol, Z)
        ctx.blank = blank
        return x.gather(-1, symbol[..., None])[..., 0] - Z, x[..., blank] - Z

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, symbol_grad: Tensor, blank_grad: Tensor) -> tuple[Tensor, None, None]:
        x, symbol, Z = ctx.saved_tensors
        grad = (x - Z[..., None]).exp_().mul_(-(symbol_grad + blank_grad)[..., None])
        grad[..., ctx.blank] += blank_grad
        return grad.scatter_add_(-1, symbol[..., None], symbol_grad[..., None]), None, None


def get_rnnt_logprobs_pruned(
    logits: Tensor,
    symbols: Tensor,
    ranges: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
) -> tuple[Tensor, Tensor]:
    """Arcs of a joiner evaluated on a band: logits[b,t,j] is for s = ranges[b,t,j]. No arc leaves a node off the band.

    Args:
        logits: (B,T,R,V).
        symbols: (B,S) int64.
        ranges: (B,T,R) int64, consecutive along R.
        termination_symbol: the id of blank.
        boundary: (B,4) int64 or None.
        rnnt_type: regular, modified or constrained.

    Returns:
        px (B,S,T+1) if regular, (B,S,T) else; py (B,S+1,T); minus infinity off the band.

    Raises:
        ValueError: when `rnnt_type` is unknown.
    """
    check_rnnt_type(rnnt_type)
    next_BTR = _next_symbols(symbols, ranges, termination_symbol)
    px_BTR, py_BTR = _SymbolAndBlankLogProbs.apply(logits, next_BTR, termination_symbol)
    return _to_lattice_arcs(*_scatter_band(px_BTR, py_BTR, ranges, symbols.shape[1]), rnnt_type, boundary)


def _next_symbols(symbols: Tensor, ranges: Tensor, blank: int) -> Tensor:
    """The symbol that follows each state of the band, (B,T,R); blank for s = S, which no symbol follows."""
    B, T, R = ranges.shape
    padded_BU = torch.nn.functional.pad(symbols, (0, 1), value=blank)
    return padded_BU.gather(1, ranges.reshape(B, T * R)).reshape(B, T, R)


def _scatter_band(px_BTR: Tensor, py_BTR: Tensor, ranges: Tensor, S: int) -> tuple[Tensor, Tensor]:
    """From the band to the complete lattice: px (B,S,T), py (B,S+1,T), minus infinity off the band."""
    B, T, _ = ranges.shape
    impossible = px_BTR.new_full((B, T, S + 1), -torch.inf)
    px = impossible.scatter(2, ranges, px_BTR)[:, :, :S].transpose(1, 2)
    py = impossible.scatter(2, ranges, py_BTR).transpose(1, 2)
    return px, py


def get_hat_logprobs_pruned(
    logits: Tensor,
    symbols: Tensor,
    ranges: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
) -> tuple[Tensor, Tensor]:
    """As `get_rnnt_logprobs_pruned` for a hybrid autoregressive transducer, Variani et al. 2020 (arXiv:2003.07705).

    Blank is a Bernoulli variable of logits[..., 0]; the other symbols divide the rest by their own softmax.

    Raises:
        ValueError: when `termination_symbol` is not 0 or `rnnt_type` is unknown.
    """
    check_rnnt_type(rnnt_type)
    if termination_symbol != 0:
        raise ValueError(f"the hybrid autoregressive transducer has blank at 0, not at {termination_symbol}")
    log_blank = torch.nn.functional.logsigmoid(logits[..., :1])
    log_others = torch.log_softmax(logits[..., 1:], 3) + torch.nn.functional.logsigmoid(-logits[..., :1])
    log_probs = torch.cat((log_blank, log_others), 3)
    next_BTR = _next_symbols(symbols, ranges, termination_symbol)
    px_BTR = log_probs.gather(3, next_BTR[..., None])[..., 0]
    return _to_lattice_arcs(*_scatter_band(px_BTR, log_probs[..., 0], ranges, symbols.shape[1]), rnnt_type, boundary)
