"""The smoothed simple loss in tiles of utterances, with the gradient in closed form.

With A = exp(am - max), L = exp(lm - max), c = 1 - l - a, unigram u, and M[s,t] = sum_v L[s,v] A[t,v]:

    px[s,t] = (c + a) am[t,y_s] + (c + l) lm[s,y_s] + a log u[y_s] - norm[s,t],  py likewise with blank for y_s
    norm[s,t] = c log M[s,t] - l log sum_v exp(lm[s,v]) - a log sum_v exp(am[t,v]) u_v    (maxima added back)

so that with the occupations G[s,t] of all arcs that leave a node, apart from the terms at symbols and blank,

    d am[t,v] = -A[t,v] (c sum_s (G / M)[s,t] L[s,v] + a u_v sum_s G[s,t] / sum_w A[t,w] u_w)
    d lm[s,v] = -L[s,v] (c sum_t (G / M)[s,t] A[t,v] + l sum_t G[s,t] / sum_w L[s,w])     (and through u)

The exponentials are computed again in the backward pass; only M is kept.

Letters: I the utterances of a tile, whose S, T and U are those of its longest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnt.loss.lattice import delay_penalty_term, sum_type
from rnnt.loss.native.kernels import kernels_for
from rnnt.loss.options import SimpleLossOptions

# Utterances per tile. A GPU takes longer to start the steps of a small tile than to run them.
UTTERANCES_CPU, LEAST_UTTERANCES_GPU = 1, 8
LEAST_ENTRIES_GPU = 2**24  # of the encoder's part, 64 MB


class _Tile:
    """Some utterances, cut to the longest of them: exponentials, maxima and sums.

    `unigram` is u_V and the sums over A u, (I,T,1); None without am smoothing.
    """

    def __init__(
        self,
        b: slice,
        am_BTV: Tensor,
        lm_BUV: Tensor,
        symbols_BS: Tensor,
        x_len_B: Tensor,
        y_len_B: Tensor,
        u_V: Tensor | None,
    ) -> None:
        kind = sum_type(am_BTV.dtype)
        self.T, self.S = int(x_len_B[b].max()), int(y_len_B[b].max())
        self.am_ITV, self.lm_IUV = am_BTV[b, : self.T].to(kind), lm_BUV[b, : self.S + 1].to(kind)
        self.symbols_IS = symbols_BS[b, : self.S].clamp(min=0)
        self.am_max_IT1, self.lm_max_IU1 = (x.amax(2, keepdim=True) for x in (self.am_ITV, self.lm_IUV))
        self.am_exp_ITV = (self.am_ITV - self.am_max_IT1).exp_()
        self.lm_exp_IUV = (self.lm_IUV - self.lm_max_IU1).exp_()
        self.lm_sum_IU1 = self.lm_exp_IUV.sum(2, keepdim=True)
        self.unigram = None if u_V is None else (u_V, (self.am_exp_ITV @ u_V)[:, :, None])

    def product(self) -> Tensor:
        """M, (I,U,T). The smallest number keeps it from zero where both sides disagree beyond the range of floats."""
        product_IUT = self.lm_exp_IUV @ self.am_exp_ITV.transpose(1, 2)
        return product_IUT.add_(torch.finfo(product_IUT.dtype).tiny)

    def arcs(self, product_IUT: Tensor, o: SimpleLossOptions) -> tuple[Tensor, Tensor]:
        """px (I,S,T) and py (I,U,T), each arc alone."""
        am_max_I1T = self.am_max_IT1.transpose(1, 2)
        norm_IUT = (product_IUT.log() + am_max_I1T).mul_(o.combined_scale)
        norm_IUT.add_(self.lm_max_IU1 * (1 - o.am_only_scale) + self.lm_sum_IU1.log() * o.lm_only_scale)
        am_scale, lm_scale = 1 - o.lm_only_scale, 1 - o.am_only_scale
        symbols_ITS = self.symbols_IS[:, None, :].expand(-1, self.T, -1)
        px = (self.am_ITV.gather(2, symbols_ITS) * am_scale).transpose(1, 2) - norm_IUT[:, : self.S]
        px += self.lm_IUV[:, : self.S].gather(2, self.symbols_IS[:, :, None]) * lm_scale
        py = (self.am_ITV[:, None, :, o.blank] * am_scale - norm_IUT).add_(self.lm_IUV[:, :, o.blank, None] * lm_scale)
        if self.unigram is not None:
            u_V, am_sum_IT1 = self.unigram
            am_only_I1T = (am_sum_IT1.transpose(1, 2).log() + am_max_I1T) * o.am_only_scale
            log_u_V = u_V.log() * o.am_only_scale
            px += log_u_V[self.symbols_IS][:, :, None] - am_only_I1T
            py += log_u_V[o.blank] - am_only_I1T
        return px, py


class SmoothedLoss(torch.autograd.Function):
    """loss_B, px_grad, py_grad of `simple.smoothed_loss`, but with an infinite loss where there is no path."""

    @staticmethod
    def forward(
        ctx: Any,
        am_BTV: Tensor,
        lm_BUV: Tensor,
        symbols_BS: Tensor,
        x_len_B: Tensor,
        y_len_B: Tensor,
        o: SimpleLossOptions,
    ) -> tuple[Tensor, Tensor, Tensor]:
        B, T, _ = am_BTV.shape
        U = lm_BUV.shape[1]
        regular = o.rnnt_type == "regular"
        u_V = _unigram(lm_BUV) if o.am_only_scale != 0 else None
        new: Any = {"dtype": sum_type(am_BTV.dtype), "device": am_BTV.device}
        product_BUT = torch.ones(B, U, T, **new)
        px = torch.full((B, U - 1, T + 1 if regular else T), -torch.inf, **new)
        py = torch.full((B, U, T), -torch.inf, **new)
        for b in _tiles(am_BTV):
            tile = _Tile(b, am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, u_V)
            product = product_BUT[b, : tile.S + 1, : tile.T] = tile.product()
            px_tile, py_tile = tile.arcs(product, o)
            if o.rnnt_type == "constrained":
                px_tile += py_tile[:, 1:]
            if o.delay_penalty > 0:
                t_T = torch.arange(tile.T, device=px.device)
                x_len_I11 = x_len_B[b].to(px.device, non_blocking=True)[:, None, None]
                px_tile += delay_penalty_term(x_len_I11, t_T, o.delay_penalty, px.dtype)
            px[b, : tile.S, : tile.T], py[b, : tile.S + 1, : tile.T] = px_tile, py_tile
        if regular:  # a tile is as long as its longest utterance
            past_B11 = x_len_B.to(px.device, non_blocking=True)[:, None, None]
            px.masked_fill_(torch.arange(T + 1, device=px.device) >= past_B11, -torch.inf)
        score_B, px_grad, py_grad = kernels_for(am_BTV.device).solve(px, py, y_len_B, x_len_B)
        usable_B = score_B != -torch.inf
        ctx.save_for_backward(am_BTV, lm_BUV, symbols_BS, product_BUT, px_grad, py_grad, usable_B, u_V)
        ctx.lengths, ctx.options = (x_len_B, y_len_B), o
        ctx.mark_non_differentiable(px_grad, py_grad)
        return -score_B, px_grad, py_grad

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_B: Tensor, _px: Tensor, _py: Tensor) -> tuple[Tensor | None, ...]:
        am_BTV, lm_BUV, symbols_BS, product_BUT, px_grad, py_grad, usable_B, u_V = ctx.saved_tensors
        o, (x_len_B, y_len_B) = ctx.options, ctx.lengths
        g_B11 = -torch.where(usable_B, g_B, 0.0).to(product_BUT.dtype)[:, None, None]
        am_grad, lm_grad = torch.zeros_like(am_BTV), torch.zeros_like(lm_BUV)
        u_grad_V = None if u_V is None else torch.zeros_like(u_V)
        for b in _tiles(am_BTV):
            tile = _Tile(b, am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, u_V)
            gx_IST = px_grad[b, : tile.S, : tile.T] * g_B11[b]
            gy_IUT = py_grad[b, : tile.S + 1, : tile.T] * g_B11[b]
            if o.rnnt_type == "constrained":
                gy_IUT[:, 1:] += gx_IST
            product_IUT = product_BUT[b, : tile.S + 1, : tile.T]
            am_tile, lm_tile, u_tile = _gradients(tile, gx_IST, gy_IUT, product_IUT, o)
            am_grad[b, : tile.T], lm_grad[b, : tile.S + 1] = am_tile, lm_tile
            if u_tile is not None and u_grad_V is not None:
                u_grad_V += u_tile
        if u_grad_V is not None:
            _add_unigram_grad_(lm_grad, lm_BUV, u_grad_V)
        return am_grad, lm_grad, None, None, None, None


def _gradients(
    tile: _Tile, gx_IST: Tensor, gy_IUT: Tensor, product_IUT: Tensor, o: SimpleLossOptions
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of the summed scores by am, lm and u (None without am smoothing), weighted as gx and gy are."""
    g_IUT = gy_IUT.clone()
    g_IUT[:, : tile.S] += gx_IST
    g_IT1, g_IU1 = g_IUT.sum(1)[:, :, None], g_IUT.sum(2)[:, :, None]
    symbols_IS = tile.symbols_IS
    ratio_IUT = g_IUT.div_(product_IUT).mul_(-o.combined_scale)
    am_grad_ITV = ratio_IUT.transpose(1, 2) @ tile.lm_exp_IUV
    lm_grad_IUV = ratio_IUT @ tile.am_exp_ITV
    lm_grad_IUV.sub_(g_IU1 / tile.lm_sum_IU1 * o.lm_only_scale)
    u_grad_V = None
    if tile.unigram is not None:
        u_V, am_sum_IT1 = tile.unigram
        ratio_IT1 = g_IT1 / am_sum_IT1 * o.am_only_scale
        am_grad_ITV.sub_(ratio_IT1 * u_V)
        u_grad_V = -(ratio_IT1 * tile.am_exp_ITV).sum((0, 1))
        at_symbols_V = torch.zeros_like(u_V).scatter_add_(0, symbols_IS.reshape(-1), gx_IST.sum(2).view(-1))
        at_symbols_V[o.blank] += gy_IUT.sum()
        u_grad_V += at_symbols_V / u_V * o.am_only_scale
    am_grad_ITV.mul_(tile.am_exp_ITV)
    lm_grad_IUV.mul_(tile.lm_exp_IUV)
    am_scale, lm_scale = 1 - o.lm_only_scale, 1 - o.am_only_scale
    symbols_ITS = symbols_IS[:, None, :].expand(-1, tile.T, -1)
    am_grad_ITV.scatter_add_(2, symbols_ITS, gx_IST.transpose(1, 2) * am_scale)
    am_grad_ITV[:, :, o.blank] += gy_IUT.sum(1) * am_scale
    lm_grad_IUV[:, : tile.S].scatter_add_(2, symbols_IS[:, :, None], gx_IST.sum(2, keepdim=True) * lm_scale)
    lm_grad_IUV[:, :, o.blank] += gy_IUT.sum(2) * lm_scale
    return am_grad_ITV, lm_grad_IUV, u_grad_V


def _tiles(am_BTV: Tensor) -> list[slice]:
    """The tiles of a batch."""
    B, T, V = am_BTV.shape
    step = UTTERANCES_CPU
    if am_BTV.device.type != "cpu":
        step = max(LEAST_UTTERANCES_GPU, LEAST_ENTRIES_GPU // max(T * V, 1))
    return [slice(b, b + step) for b in range(0, B, step)]


def _unigram(lm_BUV: Tensor) -> Tensor:
    """u_V: the mean of softmax(lm) over all states of the batch, padding included."""
    u_V = lm_BUV.new_zeros(lm_BUV.shape[2], dtype=sum_type(lm_BUV.dtype))
    for lm_UV in lm_BUV:
        u_V += torch.softmax(lm_UV.to(u_V.dtype), 1).sum(0)
    return u_V / (lm_BUV.shape[0] * lm_BUV.shape[1]) + torch.finfo(u_V.dtype).tiny


def _add_unigram_grad_(lm_grad_BUV: Tensor, lm_BUV: Tensor, u_grad_V: Tensor) -> None:
    """Adds the gradient that comes through u: that of a mean of softmaxes."""
    q_V = u_grad_V / (lm_BUV.shape[0] * lm_BUV.shape[1])
    for grad_UV, lm_UV in zip(lm_grad_BUV, lm_BUV):
        p_UV = torch.softmax(lm_UV.to(q_V.dtype), 1)
        grad_UV += (p_UV * (q_V - (p_UV @ q_V)[:, None])).to(grad_UV.dtype)
