"""The TDT loss in tiles of nodes, as `native.joiner` computes the full sum: no logits are stored.

What is kept of a node is one number for blank, one for its token and one for each duration: first log-probabilities,
then occupations. With g_y, g_0 and g_d the occupations of the arcs that leave a node by its token, by blank, and with
duration d, and g = g_y + g_0,

    d score / d token logits[v]    = g_y [v = y] + g_0 [v = blank] - g softmax(token logits)[v]
    d score / d duration logits[d] = g_d - g softmax(duration logits)[d]

sigma lowers the scores of paths, not the form of the gradient: it favours paths of fewer arcs.

Letters: X (utterance, state) pairs of the padded batch, flattened; W wavefronts and C channels as in `tdt_recursion`;
K all nodes that are visited, M those of a tile; D durations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnt.loss.lattice import delay_penalty_term, sum_type
from rnnt.loss.native.band import Band
from rnnt.loss.native.joiner import Nodes, visited
from rnnt.loss.native.tdt_recursion import BLANK, FIRST_DURATION, TOKEN, solve_durations
from rnnt.loss.native.wavefront import LOG_ZERO
from rnnt.loss.options import TDTOptions
from rnnt.ops.matmul import add_product_, linear, prepack_weight


class TDTLoss(torch.autograd.Function):
    """loss_B and usable_B of `tdt.tdt_joiner_loss`, on the nodes of the complete lattice."""

    @staticmethod
    def forward(
        ctx: Any,
        enc_BTJ: Tensor,
        pred_BUJ: Tensor,
        weight_VJ: Tensor,
        bias_V: Tensor,
        duration_weight_DJ: Tensor,
        duration_bias_D: Tensor,
        symbols_BS: Tensor,
        band: Band,
        options: TDTOptions,
    ) -> tuple[Tensor, Tensor]:
        tensors = (enc_BTJ, pred_BUJ, weight_VJ, bias_V, duration_weight_DJ, duration_bias_D)
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, duration_weight_DJ, duration_bias_D = (
            x.detach().contiguous() for x in tensors
        )
        nodes = Nodes(enc_BTJ, pred_BUJ, len(bias_V), symbols_BS, band, options)
        assert band.node_K is not None
        x_WCX = _no_nodes(band, pred_BUJ, len(duration_bias_D))
        x_len_N = band.x_len_B.to(enc_BTJ.device, non_blocking=True)[band.utterance_N]
        delay_N = delay_penalty_term(x_len_N, band.frame_N, options.delay_penalty, x_WCX.dtype)
        weight_VJ = prepack_weight(weight_VJ, min(nodes.most, len(band.node_K)))
        for number, node_M in nodes.tiles(band.node_K):
            frame_M, state_M, symbol_M = nodes.indices(node_M)
            hidden_MJ, logits_MV = nodes.logits(frame_M, state_M, weight_VJ, bias_V, number)
            token_logp_M, blank_logp_M = nodes.kernels.log_probs(logits_MV, symbol_M, options.blank)
            duration_logits_MD = linear(hidden_MJ, duration_weight_DJ, duration_bias_D).to(x_WCX.dtype)
            x_MC = torch.empty(len(node_M), x_WCX.shape[1], dtype=x_WCX.dtype, device=x_WCX.device)
            x_MC[:, BLANK] = blank_logp_M - options.sigma
            x_MC[:, TOKEN] = token_logp_M - options.sigma + delay_N[_frames(node_M, band)]
            x_MC[:, FIRST_DURATION:] = duration_logits_MD.log_softmax(1)
            wave_M, x_M = _places(node_M, band)
            x_WCX[wave_M, :, x_M] = x_MC.clamp_(min=LOG_ZERO)

        x_WCBU = x_WCX.unflatten(2, (len(band.x_len_B), band.R))
        score_B, usable_B = solve_durations(x_WCBU, options.durations, band.x_len_B, band.y_len_B)
        ctx.save_for_backward(*tensors, symbols_BS, x_WCX, usable_B)
        ctx.band, ctx.options = band, options
        ctx.mark_non_differentiable(usable_B)
        return torch.where(usable_B, -score_B, 0.0).to(x_WCX.dtype), usable_B

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_B: Tensor, _usable_B: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, symbols_BS, x_WCX, usable_B = ctx.saved_tensors
        options, band = ctx.options, ctx.band
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, duration_weight_DJ, duration_bias_D = (x.contiguous() for x in tensors)
        nodes = Nodes(enc_BTJ, pred_BUJ, len(bias_V), symbols_BS, band, options)
        kind = x_WCX.dtype
        enc_grad_XJ, pred_grad_YJ, *layer_grads = (
            torch.zeros_like(x, dtype=kind)
            for x in (nodes.enc_XJ, nodes.pred_YJ, weight_VJ, bias_V, duration_weight_DJ, duration_bias_D)
        )
        wave_K, x_K = _places(band.node_K, band)
        leaving_K = x_WCX[wave_K, BLANK, x_K] + x_WCX[wave_K, TOKEN, x_K]
        node_K = visited(band.node_K, leaving_K, options.dropout)
        weight_VJ, weight_JV = (
            prepack_weight(w, min(nodes.most, len(node_K))) for w in (weight_VJ, weight_VJ.t().contiguous())
        )
        duration_weight_JD = duration_weight_DJ.t().contiguous()
        g_B = -torch.where(usable_B, g_B, 0.0).to(kind)
        for number, node_M in nodes.tiles(node_K):
            frame_M, state_M, symbol_M = nodes.indices(node_M)
            hidden_MJ, logits_MV = nodes.logits(frame_M, state_M, weight_VJ, bias_V, number)
            wave_M, x_M = _places(node_M, band)
            grad_MC = x_WCX[wave_M, :, x_M] * g_B[torch.div(x_M, band.R, rounding_mode="floor"), None]
            token_grad_M, blank_grad_M = grad_MC[:, TOKEN], grad_MC[:, BLANK]
            leaving_M1 = (token_grad_M + blank_grad_M)[:, None]
            grad_MV = nodes.kernels.logit_grads_(logits_MV, symbol_M, options.blank, token_grad_M, blank_grad_M)
            duration_logits_MD = linear(hidden_MJ, duration_weight_DJ, duration_bias_D).to(kind)
            grad_MD = grad_MC[:, FIRST_DURATION:] - leaving_M1 * duration_logits_MD.softmax(1)
            grad_MJ = torch.zeros_like(hidden_MJ)
            for grad, weight, (weight_grad, bias_grad) in (
                (grad_MV, weight_JV, layer_grads[:2]),
                (grad_MD, duration_weight_JD, layer_grads[2:]),
            ):
                bias_grad += grad.sum(0, dtype=kind)
                grad = grad.to(hidden_MJ.dtype).contiguous()
                add_product_(weight_grad, grad, hidden_MJ)
                grad_MJ += linear(grad, weight)
            nodes.kernels.hidden_grad_(grad_MJ, hidden_MJ, options.activation, options.dropout, options.seed + number)
            frames, states = nodes.rows(number, node_K)
            nodes.kernels.add_rows_(enc_grad_XJ[frames], frame_M - frames.start, grad_MJ, in_order=True)
            nodes.kernels.add_rows_(pred_grad_YJ[states], state_M - states.start, grad_MJ)
        grads = (enc_grad_XJ, pred_grad_YJ, *layer_grads)
        return *(g.view(x.shape).to(x.dtype) for g, x in zip(grads, tensors)), None, None, None


def _no_nodes(band: Band, like: Tensor, durations: int) -> Tensor:
    """Room for what leaves the nodes of a batch, by wavefront, (W,C,X): everywhere LOG_ZERO."""
    waves = max((band.x_len_B + band.y_len_B).tolist(), default=0) + 1
    shape = waves, FIRST_DURATION + durations, len(band.x_len_B) * band.R
    return like.new_full(shape, LOG_ZERO, dtype=sum_type(like.dtype))


def _frames(node_M: Tensor, band: Band) -> Tensor:
    """The packed frame of each node."""
    return torch.div(node_M, band.R, rounding_mode="floor")


def _places(node_M: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    """The wavefront of each node, and its place there: its utterance's states lie one behind the other."""
    n_M = _frames(node_M, band)
    state_M = node_M - n_M * band.R
    return band.frame_N[n_M] + state_M, band.utterance_N[n_M] * band.R + state_M
