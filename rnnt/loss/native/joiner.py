"""The joiner loss in tiles of nodes: the logits of a tile are computed, reduced to two numbers per node, and discarded.

The nodes are those of the band (or of the complete lattice). Forward: all nodes, their log-probabilities of symbol and
blank, then the recursion. Backward: the logits again, only of nodes that some path visits, and from the occupations
their gradients in closed form. With g_y and g_0 the occupations of the symbol arc and of the blank arc of a node,

    d score / d logits[v] = g_y [v = y] + g_0 [v = blank] - (g_y + g_0) softmax(logits)[v]

The matrix products run in the type of the inputs; everything else, and every sum, in float32 (float64 for float64).

Letters: X encoder frames and Y predictor states of the padded batch, flattened; N packed frames; K all nodes that are
visited; M those of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from rnnt.loss.lattice import delay_penalty_term, sum_type
from rnnt.loss.native.band import Band
from rnnt.loss.native.kernels import Kernels, kernels_for
from rnnt.loss.options import JoinerLossOptions, TDTOptions
from rnnt.ops.matmul import add_product_, linear, prepack_weight

# A tile is one of this many equal parts of all nodes, so that the memory falls as the batch grows, but has no fewer
# nodes than matrix products need to run at full speed. On a CPU more do not make them faster, and its logits should
# stay in the cache. A GPU needs far larger tiles: it takes longer to start the steps of a small one than to run them.
TILES = 16
LEAST_NODES = 512
MOST_NODES_CPU = 1024
MOST_LOGITS_CPU = 3 * 2**17  # 1.5 MB
LEAST_LOGITS_GPU = 2**24  # 64 MB


class Nodes:
    """The nodes of a band, tile by tile."""

    def __init__(
        self,
        enc_BTJ: Tensor,
        pred_BUJ: Tensor,
        V: int,
        symbols_BS: Tensor,
        band: Band,
        options: JoinerLossOptions | TDTOptions,
    ) -> None:
        self.kernels = kernels_for(enc_BTJ.device)
        self.enc_XJ, self.pred_YJ = enc_BTJ.flatten(0, 1), pred_BUJ.flatten(0, 1)
        self.options, self.band = options, band
        U = pred_BUJ.shape[1]
        self.frame_N = band.utterance_N * enc_BTJ.shape[1] + band.frame_N
        self.first_state_N = band.utterance_N * U + band.start_N
        # The symbol after each state; after the last there is none, and its arc has no weight.
        self.symbol_Y = torch.nn.functional.pad(symbols_BS.clamp(min=0), (0, 1)).flatten()
        nodes = len(self.frame_N) * band.R
        self.most = max(LEAST_NODES, -(-nodes // TILES))
        if enc_BTJ.device.type == "cpu":
            self.most = min(self.most, MOST_NODES_CPU, max(LEAST_NODES, MOST_LOGITS_CPU // V))
        else:
            self.most = max(self.most, LEAST_LOGITS_GPU // V)
        J = enc_BTJ.shape[2]
        self._hidden_MJ = enc_BTJ.new_empty(min(self.most, nodes), J)

    def tiles(self, node_K: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yields (tile number, the part of `node_K` that it holds)."""
        yield from enumerate(node_K.split(self.most))

    def rows(self, number: int, node_K: Tensor) -> tuple[slice, slice]:
        """Of enc_XJ and of pred_YJ the rows in which all nodes of a tile lie, without asking the device.

        All of them where `node_K` is a part of the nodes.
        """
        band, B = self.band, len(self.band.x_len_B)
        end_B = (band.x_len_B * (band.R if band.node_K is None else band.y_len_B + 1)).cumsum(0)
        first, last = 0, B - 1
        if B > 0 and len(node_K) == end_B[-1] > 0:
            nodes = torch.tensor([number * self.most, (number + 1) * self.most - 1])
            first, last = torch.searchsorted(end_B, nodes.clamp(max=int(end_B[-1]) - 1), right=True).tolist()
        T, U = len(self.enc_XJ) // max(B, 1), len(self.pred_YJ) // max(B, 1)
        return slice(first * T, (last + 1) * T), slice(first * U, (last + 1) * U)

    def indices(self, node_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of enc_XJ and of pred_YJ, and the next symbols."""
        n_M = torch.div(node_M, self.band.R, rounding_mode="floor")
        state_M = self.first_state_N[n_M] + (node_M - n_M * self.band.R)
        # A window that reaches past the last state of its utterance has no arcs there.
        state_M.clamp_(max=self.pred_YJ.shape[0] - 1)
        return self.frame_N[n_M], state_M, self.symbol_Y[state_M]

    def logits(
        self, frame_M: Tensor, state_M: Tensor, weight_VJ: Tensor, bias_V: Tensor, number: int
    ) -> tuple[Tensor, Tensor]:
        """The activations (in a buffer that the next tile overwrites) and the logits of a tile."""
        o, M = self.options, len(frame_M)
        args = (frame_M, state_M, o.activation, o.dropout, o.seed + number)
        hidden_MJ = self.kernels.hidden(self.enc_XJ, self.pred_YJ, *args, out=self._hidden_MJ[:M])
        return hidden_MJ, linear(hidden_MJ, weight_VJ, bias_V)


class JoinerLoss(torch.autograd.Function):
    """loss_B and usable_B of `joiner.pruned_joiner_loss`, on the nodes of a band."""

    @staticmethod
    def forward(
        ctx: Any,
        enc_BTJ: Tensor,
        pred_BUJ: Tensor,
        weight_VJ: Tensor,
        bias_V: Tensor,
        symbols_BS: Tensor,
        band: Band,
        options: JoinerLossOptions,
    ) -> tuple[Tensor, Tensor]:
        tensors = (enc_BTJ, pred_BUJ, weight_VJ, bias_V)
        enc_BTJ, pred_BUJ, weight_VJ, bias_V = (x.detach().contiguous() for x in tensors)
        nodes = Nodes(enc_BTJ, pred_BUJ, len(bias_V), symbols_BS, band, options)
        N, R = len(band.frame_N), band.R
        node_K = torch.arange(N * R, device=enc_BTJ.device) if band.node_K is None else band.node_K
        px_NR, py_NR = (enc_BTJ.new_zeros(N, R, dtype=sum_type(enc_BTJ.dtype)) for _ in range(2))
        weight_VJ = prepack_weight(weight_VJ, min(nodes.most, len(node_K)))
        for number, node_M in nodes.tiles(node_K):
            frame_M, state_M, symbol_M = nodes.indices(node_M)
            _, logits_MV = nodes.logits(frame_M, state_M, weight_VJ, bias_V, number)
            symbol_logp_M, blank_logp_M = nodes.kernels.log_probs(logits_MV, symbol_M, options.blank)
            px_NR.view(-1)[node_M] = symbol_logp_M
            py_NR.view(-1)[node_M] = blank_logp_M

        score_B, px_grad_NR, py_grad_NR = _solve(nodes.kernels, px_NR, py_NR, band, options)
        usable_B = score_B != -torch.inf
        ctx.save_for_backward(*tensors, symbols_BS, px_grad_NR, py_grad_NR, usable_B, node_K)
        ctx.band, ctx.options = band, options
        ctx.mark_non_differentiable(usable_B)
        return torch.where(usable_B, -score_B, 0.0), usable_B

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_B: Tensor, _usable_B: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, symbols_BS, px_grad_NR, py_grad_NR, usable_B, node_K = ctx.saved_tensors
        options, band = ctx.options, ctx.band
        enc_BTJ, pred_BUJ, weight_VJ, bias_V = (x.contiguous() for x in tensors)
        nodes = Nodes(enc_BTJ, pred_BUJ, len(bias_V), symbols_BS, band, options)
        kind = sum_type(enc_BTJ.dtype)
        enc_grad_XJ, pred_grad_YJ, weight_grad_VJ, bias_grad_V = (
            torch.zeros_like(x, dtype=kind) for x in (nodes.enc_XJ, nodes.pred_YJ, weight_VJ, bias_V)
        )
        node_K = visited(node_K, (px_grad_NR + py_grad_NR).view(-1)[node_K], options.dropout)
        weight_VJ, weight_JV = (
            prepack_weight(w, min(nodes.most, len(node_K))) for w in (weight_VJ, weight_VJ.t().contiguous())
        )
        g_NR = -torch.where(usable_B, g_B, 0.0).to(kind)[band.utterance_N, None]
        symbol_grad_NR, blank_grad_NR = (g_NR * p_NR for p_NR in (px_grad_NR, py_grad_NR))
        for number, node_M in nodes.tiles(node_K):
            frame_M, state_M, symbol_M = nodes.indices(node_M)
            hidden_MJ, logits_MV = nodes.logits(frame_M, state_M, weight_VJ, bias_V, number)
            symbol_grad_M, blank_grad_M = (g.view(-1)[node_M] for g in (symbol_grad_NR, blank_grad_NR))
            grad_MV = nodes.kernels.logit_grads_(logits_MV, symbol_M, options.blank, symbol_grad_M, blank_grad_M)
            bias_grad_V += grad_MV.sum(0, dtype=kind)
            grad_MV = grad_MV.to(hidden_MJ.dtype)
            add_product_(weight_grad_VJ, grad_MV, hidden_MJ)
            grad_MJ = linear(grad_MV, weight_JV)
            nodes.kernels.hidden_grad_(grad_MJ, hidden_MJ, options.activation, options.dropout, options.seed + number)
            frames, states = nodes.rows(number, node_K)
            nodes.kernels.add_rows_(enc_grad_XJ[frames], frame_M - frames.start, grad_MJ, in_order=True)
            nodes.kernels.add_rows_(pred_grad_YJ[states], state_M - states.start, grad_MJ)
        grads = (enc_grad_XJ, pred_grad_YJ, weight_grad_VJ, bias_grad_V)
        return *(g.view(x.shape).to(x.dtype) for g, x in zip(grads, tensors)), None, None, None


def _solve(
    kernels: Kernels, px_NR: Tensor, py_NR: Tensor, band: Band, options: JoinerLossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """score_B, and its gradients by the log-probabilities of symbols and of blanks."""
    if options.delay_penalty > 0:
        x_len_N = band.x_len_B.to(px_NR.device, non_blocking=True)[band.utterance_N]
        px_NR = px_NR + delay_penalty_term(x_len_N, band.frame_N, options.delay_penalty, px_NR.dtype)[:, None]
    constrained = options.rnnt_type == "constrained"
    if constrained:  # the blank of the next state, which the last one of the window does not have
        px_NR = px_NR + torch.nn.functional.pad(py_NR[:, 1:], (0, 1), value=-torch.inf)
    score_B, px_grad_NR, py_grad_NR = kernels.solve_band(px_NR, py_NR, band, options.rnnt_type == "regular")
    if constrained:
        py_grad_NR[:, 1:] += px_grad_NR[:, :-1]
    return score_B, px_grad_NR, py_grad_NR


def visited(node_K: Tensor, occupation_K: Tensor, dropout: float) -> Tensor:
    """The nodes whose gradient is more than the rounding error of the sums it goes into.

    Only where the count needs no synchronisation, and where the nodes of a tile may change (dropout is drawn by tile).
    """
    if node_K.device.type != "cpu" or dropout > 0:
        return node_K
    least = torch.finfo(occupation_K.dtype).eps / 1000
    return node_K[~(occupation_K <= least)]  # NaN is visited
