"""The smoothed simple loss in tiles of utterances, with the gradient in closed form.

With A = exp(am - max), L = exp(lm - max), c = 1 - l - a, unigram u, and M[s,t] = sum_v L[s,v] A[t,v]:

    px[s,t] = (c + a) am[t,y_s] + (c + l) lm[s,y_s] + a log u[y_s] - norm[s,t],  py likewise with blank for y_s
    norm[s,t] = c log M[s,t] - l log sum_v exp(lm[s,v]) - a log sum_v exp(am[t,v]) u_v    (maxima added back)

so that with the occupations G[s,t] of all arcs that leave a node, apart from the terms at symbols and blank,

    d am[t,v] = -A[t,v] (c sum_s (G / M)[s,t] L[s,v] + a u_v sum_s G[s,t] / sum_w A[t,w] u_w)
    d lm[s,v] = -L[s,v] (c sum_t (G / M)[s,t] A[t,v] + l sum_t G[s,t] / sum_w L[s,w])     (and through u)

The exponentials are computed again in the backward pass; what is kept is M alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .backends import kernels_for
from .lattice import delay_penalty_term, sum_type

UTTERANCES_CPU, UTTERANCES_GPU = 1, 8


class Options(NamedTuple):
    blank: int
    lm_only_scale: float
    am_only_scale: float
    rnnt_type: str
    delay_penalty: float

    @property
    def combined_scale(self) -> float:
        return 1 - self.lm_only_scale - self.am_only_scale


class _Tile:
    """Some utterances, cut to the longest of them: exponentials, maxima and sums. u_V is None without am smoothing."""

    def __init__(self, b: slice, am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, u_V):
        kind = sum_type(am_BTV.dtype)
        self.b, self.T, self.S = b, int(x_len_B[b].max()), int(y_len_B[b].max())
        self.am, self.lm = am_BTV[b, : self.T].to(kind), lm_BUV[b, : self.S + 1].to(kind)
        self.symbols = symbols_BS[b, : self.S].clamp(min=0)
        self.am_max, self.lm_max = self.am.amax(2, keepdim=True), self.lm.amax(2, keepdim=True)
        self.am_exp, self.lm_exp = (self.am - self.am_max).exp_(), (self.lm - self.lm_max).exp_()
        self.lm_sum = self.lm_exp.sum(2, keepdim=True)
        self.am_sum = None if u_V is None else (self.am_exp @ u_V)[:, :, None]

    def product(self) -> Tensor:
        """M, (b,U,T). The smallest number keeps it from zero where both sides disagree beyond the range of floats."""
        product = self.lm_exp @ self.am_exp.transpose(1, 2)
        return product.add_(torch.finfo(product.dtype).tiny)

    def arcs(self, product: Tensor, u_V: Tensor | None, o: Options) -> tuple[Tensor, Tensor]:
        """px (b,S,T) and py (b,U,T), each arc alone."""
        am_log_max = self.am_max.transpose(1, 2)
        norm = (product.log() + am_log_max).mul_(o.combined_scale)
        norm.add_(self.lm_max * (1 - o.am_only_scale) + self.lm_sum.log() * o.lm_only_scale)
        am_scale, lm_scale = 1 - o.lm_only_scale, 1 - o.am_only_scale
        y_bTS = self.symbols[:, None, :].expand(-1, self.T, -1)
        px = (self.am.gather(2, y_bTS) * am_scale).transpose(1, 2) - norm[:, : self.S]
        px += self.lm[:, : self.S].gather(2, self.symbols[:, :, None]) * lm_scale
        py = (self.am[:, None, :, o.blank] * am_scale - norm).add_(self.lm[:, :, o.blank, None] * lm_scale)
        if u_V is not None:
            am_only = (self.am_sum.transpose(1, 2).log() + am_log_max) * o.am_only_scale
            log_u_V = u_V.log() * o.am_only_scale
            px += log_u_V[self.symbols][:, :, None] - am_only
            py += log_u_V[o.blank] - am_only
        return px, py


class SmoothedLoss(torch.autograd.Function):
    """loss_B, px_grad, py_grad of simple.smoothed_loss, but with an infinite loss where there is no path."""

    @staticmethod
    def forward(ctx, am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, o: Options):
        B, T, _ = am_BTV.shape
        U = lm_BUV.shape[1]
        regular = o.rnnt_type == "regular"
        u_V = _unigram(lm_BUV) if o.am_only_scale != 0 else None
        new = {"dtype": sum_type(am_BTV.dtype), "device": am_BTV.device}
        product_BUT = torch.ones(B, U, T, **new)
        px = torch.full((B, U - 1, T + 1 if regular else T), -torch.inf, **new)
        py = torch.full((B, U, T), -torch.inf, **new)
        for b in _utterances(am_BTV):
            tile = _Tile(b, am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, u_V)
            product = product_BUT[b, : tile.S + 1, : tile.T] = tile.product()
            px_tile, py_tile = tile.arcs(product, u_V, o)
            if o.rnnt_type == "constrained":
                px_tile += py_tile[:, 1:]
            if o.delay_penalty > 0:
                t_T = torch.arange(tile.T, device=px.device)
                x_len_b = x_len_B[b].to(px.device, non_blocking=True)[:, None, None]
                px_tile += delay_penalty_term(x_len_b, t_T, o.delay_penalty, px.dtype)
            px[b, : tile.S, : tile.T], py[b, : tile.S + 1, : tile.T] = px_tile, py_tile
        if regular:  # a tile is as long as its longest utterance
            past_B11 = x_len_B.to(px.device, non_blocking=True)[:, None, None]
            px.masked_fill_(torch.arange(T + 1, device=px.device) >= past_B11, -torch.inf)
        score_B, px_grad, py_grad = kernels_for(am_BTV.device).solve(px, py, y_len_B, x_len_B)
        usable_B = score_B > -torch.inf
        ctx.save_for_backward(am_BTV, lm_BUV, symbols_BS, product_BUT, px_grad, py_grad, usable_B, u_V)
        ctx.lengths, ctx.options = (x_len_B, y_len_B), o
        ctx.mark_non_differentiable(px_grad, py_grad)
        return -score_B, px_grad, py_grad

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g_B, _px, _py):
        am_BTV, lm_BUV, symbols_BS, product_BUT, px_grad, py_grad, usable_B, u_V = ctx.saved_tensors
        o, (x_len_B, y_len_B) = ctx.options, ctx.lengths
        g_B11 = -torch.where(usable_B, g_B, 0.0).to(product_BUT.dtype)[:, None, None]
        am_grad, lm_grad = torch.zeros_like(am_BTV), torch.zeros_like(lm_BUV)
        u_grad_V = None if u_V is None else torch.zeros_like(u_V)
        for b in _utterances(am_BTV):
            tile = _Tile(b, am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, u_V)
            gx = px_grad[b, : tile.S, : tile.T] * g_B11[b]
            gy = py_grad[b, : tile.S + 1, : tile.T] * g_B11[b]
            if o.rnnt_type == "constrained":
                gy[:, 1:] += gx
            product = product_BUT[b, : tile.S + 1, : tile.T]
            am_tile, lm_tile, u_tile = _gradients(tile, gx, gy, product, u_V, o)
            am_grad[b, : tile.T], lm_grad[b, : tile.S + 1] = am_tile, lm_tile
            if u_tile is not None:
                u_grad_V += u_tile
        if u_grad_V is not None:
            _add_unigram_grad_(lm_grad, lm_BUV, u_grad_V)
        return am_grad, lm_grad, None, None, None, None


def _gradients(tile: _Tile, gx: Tensor, gy: Tensor, product: Tensor, u_V: Tensor | None, o: Options):
    """Gradients of the summed scores by am, lm and u (None without am smoothing), weighted as gx and gy are."""
    g = gy.clone()
    g[:, : tile.S] += gx
    g_t, g_s = g.sum(1)[:, :, None], g.sum(2)[:, :, None]
    symbols, b, S, T = tile.symbols, len(g), tile.S, tile.T
    weight = g.div_(product).mul_(-o.combined_scale)
    am_grad = weight.transpose(1, 2) @ tile.lm_exp
    lm_grad = weight @ tile.am_exp
    lm_grad.sub_(g_s / tile.lm_sum * o.lm_only_scale)
    u_grad = None
    if u_V is not None:
        share = g_t / tile.am_sum * o.am_only_scale
        am_grad.sub_(share * u_V)
        u_grad = -(share * tile.am_exp).sum((0, 1))
        at_symbols = torch.zeros_like(u_V).scatter_add_(0, symbols.reshape(-1), gx.sum(2).view(-1))
        at_symbols[o.blank] += gy.sum()
        u_grad += at_symbols / u_V * o.am_only_scale
    am_grad.mul_(tile.am_exp)
    lm_grad.mul_(tile.lm_exp)
    am_scale, lm_scale = 1 - o.lm_only_scale, 1 - o.am_only_scale
    am_grad.scatter_add_(2, symbols[:, None, :].expand(b, T, S), gx.transpose(1, 2) * am_scale)
    am_grad[:, :, o.blank] += gy.sum(1) * am_scale
    lm_grad[:, :S].scatter_add_(2, symbols[:, :, None], gx.sum(2, keepdim=True) * lm_scale)
    lm_grad[:, :, o.blank] += gy.sum(2) * lm_scale
    return am_grad, lm_grad, u_grad


def _utterances(am_BTV: Tensor) -> list[slice]:
    """The tiles of a batch."""
    step = UTTERANCES_CPU if am_BTV.device.type == "cpu" else UTTERANCES_GPU
    return [slice(b, b + step) for b in range(0, len(am_BTV), step)]


def _unigram(lm_BUV: Tensor) -> Tensor:
    """u_V: the mean of softmax(lm) over all rows of the batch, padding included."""
    u_V = sum(torch.softmax(lm_UV.to(sum_type(lm_UV.dtype)), 1).sum(0) for lm_UV in lm_BUV)
    return u_V / (lm_BUV.shape[0] * lm_BUV.shape[1]) + torch.finfo(u_V.dtype).tiny


def _add_unigram_grad_(lm_grad_BUV: Tensor, lm_BUV: Tensor, u_grad_V: Tensor) -> None:
    """Adds the gradient that comes through u: that of a mean of softmaxes."""
    q_V = u_grad_V / (lm_BUV.shape[0] * lm_BUV.shape[1])
    for grad_UV, lm_UV in zip(lm_grad_BUV, lm_BUV):
        p_UV = torch.softmax(lm_UV.to(q_V.dtype), 1)
        grad_UV += (p_UV * (q_V - (p_UV @ q_V)[:, None])).to(grad_UV.dtype)
