"""The joiner loss in tiles of rows: the logits of a tile are computed, reduced to two numbers a row, and forgotten.

A row is a node (t, s) of the band (or of the whole lattice). Forward: all rows, their log-probabilities of symbol and
blank, then the recursion. Backward: the logits again, only of rows that some path visits, and from the occupations
their gradients in closed form. With g_y and g_0 the occupations of the symbol arc and of the blank arc of a row,

    d score / d logits[v] = g_y [v = y] + g_0 [v = blank] - (g_y + g_0) softmax(logits)[v]

The matrix products run in the type of the inputs; everything else, and every sum, in float32 (float64 for float64).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .backends import kernels_for
from .band import Band
from .lattice import delay_penalty_term, sum_type
from .products import add_product_, linear, packed

# A tile is this share of all rows, so that the memory falls as the batch grows, but has no fewer rows than matrix
# products need to run at full speed. On a CPU more do not make them faster, and its logits should stay in the cache.
TILES = 16
LEAST_ROWS = 512
MOST_ROWS_CPU = 1024
MOST_LOGITS_CPU = 3 * 2**17  # 1.5 MB


class Options(NamedTuple):
    blank: int
    activation: str
    rnnt_type: str
    delay_penalty: float
    dropout: float
    seed: int


class _Rows:
    """The rows of a band, tile by tile."""

    def __init__(self, enc_BTJ: Tensor, pred_BUJ: Tensor, V: int, symbols_BS: Tensor, band: Band, options: Options):
        self.kernels = kernels_for(enc_BTJ.device)
        self.enc_NJ, self.pred_NJ = enc_BTJ.flatten(0, 1), pred_BUJ.flatten(0, 1)
        self.options, self.band = options, band
        U = pred_BUJ.shape[1]
        self.frame_N = band.utterance_N * enc_BTJ.shape[1] + band.frame_N
        self.context_N = band.utterance_N * U + band.start_N
        # The symbol after each context; after the last there is none, and its arc has no weight.
        self.symbol_K = torch.nn.functional.pad(symbols_BS.clamp(min=0), (0, 1)).flatten()
        rows = len(self.frame_N) * band.R
        self.most = max(LEAST_ROWS, -(-rows // TILES))
        if enc_BTJ.device.type == "cpu":
            self.most = min(self.most, MOST_ROWS_CPU, max(LEAST_ROWS, MOST_LOGITS_CPU // V))
        J = enc_BTJ.shape[2]
        self._hidden_MJ = enc_BTJ.new_empty(min(self.most, rows), J)

    def tiles(self, row_K: Tensor):
        """Yields (tile number, the part of row_K that it holds)."""
        yield from enumerate(row_K.split(self.most))

    def indices(self, row_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of enc_NJ and of pred_NJ, and the next symbols."""
        n_M = torch.div(row_M, self.band.R, rounding_mode="floor")
        context_M = self.context_N[n_M] + (row_M - n_M * self.band.R)
        # A window that reaches past the last context of its utterance has no arcs there.
        context_M.clamp_(max=self.pred_NJ.shape[0] - 1)
        return self.frame_N[n_M], context_M, self.symbol_K[context_M]

    def logits(self, frame_M: Tensor, context_M: Tensor, weight_VJ: Tensor, bias_V: Tensor, number: int):
        """The activations (in a buffer that the next tile takes over) and the logits of a tile."""
        o, M = self.options, len(frame_M)
        args = (frame_M, context_M, o.activation, o.dropout, o.seed + number)
        hidden_MJ = self.kernels.hidden(self.enc_NJ, self.pred_NJ, *args, out=self._hidden_MJ[:M])
        return hidden_MJ, linear(hidden_MJ, weight_VJ, bias_V)


class JoinerLoss(torch.autograd.Function):
    """loss_B and usable_B of joiner.pruned_joiner_loss. `row_K`: the rows that have an arc, or None for all."""

    @staticmethod
    def forward(ctx, enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, band: Band, row_K, options: Options):
        tensors = (enc_BTJ, pred_BUJ, weight_VJ, bias_V)
        enc_BTJ, pred_BUJ, weight_VJ, bias_V = (x.detach().contiguous() for x in tensors)
        rows = _Rows(enc_BTJ, pred_BUJ, len(bias_V), symbols_BS, band, options)
        N, R = len(band.frame_N), band.R
        if row_K is None:
            row_K = torch.arange(N * R, device=enc_BTJ.device)
        px_NR, py_NR = (enc_BTJ.new_zeros(N, R, dtype=sum_type(enc_BTJ.dtype)) for _ in range(2))
        weight_VJ = packed(weight_VJ, min(rows.most, len(row_K)))
        for number, row_M in rows.tiles(row_K):
            frame_M, context_M, symbol_M = rows.indices(row_M)
            _, logits_MV = rows.logits(frame_M, context_M, weight_VJ, bias_V, number)
            symbol_logp_M, blank_logp_M = rows.kernels.log_probs(logits_MV, symbol_M, options.blank)
            px_NR.view(-1)[row_M] = symbol_logp_M
            py_NR.view(-1)[row_M] = blank_logp_M

        score_B, px_grad_NR, py_grad_NR = _solve(rows.kernels, px_NR, py_NR, band, options)
        usable_B = score_B > -torch.inf
        ctx.save_for_backward(*tensors, symbols_BS, px_grad_NR, py_grad_NR, usable_B, row_K)
        ctx.band, ctx.options = band, options
        ctx.mark_non_differentiable(usable_B)
        return torch.where(usable_B, -score_B, 0.0), usable_B

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g_B, _):
        *tensors, symbols_BS, px_grad_NR, py_grad_NR, usable_B, row_K = ctx.saved_tensors
        options, band = ctx.options, ctx.band
        enc_BTJ, pred_BUJ, weight_VJ, bias_V = (x.contiguous() for x in tensors)
        rows = _Rows(enc_BTJ, pred_BUJ, len(bias_V), symbols_BS, band, options)
        kind = sum_type(enc_BTJ.dtype)
        enc_grad_NJ, pred_grad_NJ, weight_grad_VJ, bias_grad_V = (
            torch.zeros_like(x, dtype=kind) for x in (rows.enc_NJ, rows.pred_NJ, weight_VJ, bias_V)
        )
        row_K = _visited(row_K, px_grad_NR + py_grad_NR, options)
        weight_VJ, weight_JV = (packed(w, min(rows.most, len(row_K))) for w in (weight_VJ, weight_VJ.t().contiguous()))
        g_NR = -torch.where(usable_B, g_B, 0.0).to(kind)[band.utterance_N, None]
        symbol_grad_K, blank_grad_K = ((g_NR * p).view(-1) for p in (px_grad_NR, py_grad_NR))
        for number, row_M in rows.tiles(row_K):
            frame_M, context_M, symbol_M = rows.indices(row_M)
            hidden_MJ, logits_MV = rows.logits(frame_M, context_M, weight_VJ, bias_V, number)
            grad_MV = rows.kernels.logit_grads_(
                logits_MV, symbol_M, options.blank, symbol_grad_K[row_M], blank_grad_K[row_M]
            )
            bias_grad_V += grad_MV.sum(0, dtype=kind)
            grad_MV = grad_MV.to(hidden_MJ.dtype)
            add_product_(weight_grad_VJ, grad_MV, hidden_MJ)
            grad_MJ = linear(grad_MV, weight_JV)
            rows.kernels.hidden_grad_(grad_MJ, hidden_MJ, options.activation, options.dropout, options.seed + number)
            rows.kernels.add_rows_(enc_grad_NJ, frame_M, grad_MJ)
            rows.kernels.add_rows_(pred_grad_NJ, context_M, grad_MJ)
        grads = (enc_grad_NJ, pred_grad_NJ, weight_grad_VJ, bias_grad_V)
        return *(g.view(x.shape).to(x.dtype) for g, x in zip(grads, tensors)), None, None, None, None


def _solve(kernels, px_NR: Tensor, py_NR: Tensor, band: Band, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """Score_B, and its gradients by the log-probabilities of symbols and of blanks."""
    if options.delay_penalty > 0:
        x_len_N = band.x_len_B.to(px_NR.device, non_blocking=True)[band.utterance_N]
        px_NR = px_NR + delay_penalty_term(x_len_N, band.frame_N, options.delay_penalty, px_NR.dtype)[:, None]
    constrained = options.rnnt_type == "constrained"
    if constrained:  # the blank of the next context, which the last one of the window does not have
        px_NR = px_NR + torch.nn.functional.pad(py_NR[:, 1:], (0, 1), value=-torch.inf)
    score_B, px_grad_NR, py_grad_NR = kernels.solve_band(px_NR, py_NR, band, options.rnnt_type == "regular")
    if constrained:
        py_grad_NR[:, 1:] += px_grad_NR[:, :-1]
    return score_B, px_grad_NR, py_grad_NR


def _visited(row_K: Tensor, occupation_NR: Tensor, options: Options) -> Tensor:
    """The rows whose gradient is more than the rounding error of the sums it goes into.

    Only where the count needs no synchronisation, and where the rows of a tile may change (dropout is drawn by tile).
    """
    if row_K.device.type != "cpu" or options.dropout > 0:
        return row_K
    least = torch.finfo(occupation_NR.dtype).eps / 1000
    return row_K[occupation_NR.view(-1)[row_K] > least]
