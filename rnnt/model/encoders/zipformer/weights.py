"""The arithmetic of attention weights that several modules share, with a gradient that is never stored.

    W = softmax over j of q_i k_j + p_i r_(j - i) + hidden_j,      y^m = W v^m  for the modules m that use W

W's gradient is the sum of g^m v^m' over these modules, with g^m the gradient of y^m: a product of thin matrices. So
each module leaves (g^m, v^m) among the `Uses`, and the gradient of W is made when that of q, k, p and r is due: a few
heads at a time on a CPU, where such a part stays in the cache. That saves three tensors of the size of W and the
passes over them. What makes autograd wait for all modules is the `token`, which they take and whose gradient is 0.

Letters: H heads, n of them at a time, C width of a head's query and key, P of its query for distances, X = 2 T - 1
distances; N all heads' channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rnnt.ops.compiling import is_tracing

PART = 1 << 20  # weights that are made at once on a CPU


@dataclass
class Uses:
    """What the users of attention weights leave for the gradient: pairs (g, v).

    Attributes:
        all_heads: (B, H, T, C) each.
        first_head: (B, T, C) each, of the first head alone.
    """

    all_heads: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    first_head: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class SharedWeights:
    """Attention weights, (B, H, T, T) without autograd, for `sums_of_heads` and `gated_sums_of_first_head`."""

    weights_BHTT: Tensor
    token: Tensor
    uses: Uses


def shared_weights(
    q_BTN: Tensor, k_BTN: Tensor, p_BTN: Tensor, r_XN: Tensor | None, hidden: Tensor, heads: int, limit: float,
    penalty: float,
) -> SharedWeights:  # fmt: skip
    """The weights of `heads` heads.

    Args:
        q_BTN, k_BTN, p_BTN: queries, keys, and queries for distances, head by head.
        r_XN: the distances -(T - 1), ..., T - 1 as the latter's partners; None: they don't count.
        hidden: what is added to scores, (B, 1, 1, T) or (B, 1, T, T).
        heads: H.
        limit: of the scores; beyond it `penalty` is added to the size of their gradient, against their sign.
        penalty: 0: none.
    """
    uses = Uses()
    if is_tracing():
        assert r_XN is not None
        weights_BHTT = _traced_weights(q_BTN, k_BTN, p_BTN, r_XN, hidden, heads)
        return SharedWeights(weights_BHTT, weights_BHTT, uses)
    token, weights_BHTT = _Weights.apply(q_BTN, k_BTN, p_BTN, r_XN, hidden, uses, heads, limit, penalty)
    return SharedWeights(weights_BHTT, token, uses)


def by_head(x_BTN: Tensor, heads: int) -> Tensor:
    """(B, T, H C) -> (B, H, T, C), a view."""
    B, T, _ = x_BTN.shape
    return x_BTN.view(B, T, heads, -1).transpose(1, 2)


def from_heads(x_BHTC: Tensor) -> Tensor:
    """(B, H, T, C) -> (B, T, H C)."""
    return x_BHTC.transpose(1, 2).flatten(2)


def by_key(x_BHTX: Tensor) -> Tensor:
    """Scores by distance (B, H, T, 2 T - 1) as scores by key (B, H, T, T): column j - i + T - 1 becomes j. A view."""
    B, H, T, X = x_BHTX.shape
    if T == 1:
        return x_BHTX
    # One column less with each row is, in memory, a matrix whose rows are one shorter, T - 1 numbers later.
    return x_BHTX.view(B, H, T * X)[:, :, T - 1 : T - 1 + T * (X - 1)].view(B, H, T, X - 1)[..., :T]


def _traced_weights(q_BTN: Tensor, k_BTN: Tensor, p_BTN: Tensor, r_XN: Tensor, hidden: Tensor, heads: int) -> Tensor:
    """The weights by plain operations."""
    q_BHTC, k_BHTC, p_BHTP = (by_head(x, heads) for x in (q_BTN, k_BTN, p_BTN))
    by_distance_BHTX = p_BHTP @ by_head(r_XN[None], heads).transpose(2, 3)
    B, H, T, _ = q_BHTC.shape
    # As `by_key`, with one more column at the right: one frame needs no case of its own.
    flat_BHX = F.pad(by_distance_BHTX, (0, 1)).reshape(B, H, 2 * T * T)
    by_key_BHTT = flat_BHX[:, :, T - 1 : T - 1 + T * (2 * T - 1)].reshape(B, H, T, 2 * T - 1)[..., :T]
    return torch.softmax(q_BHTC @ k_BHTC.transpose(2, 3) + by_key_BHTT + hidden, dim=-1)


def _parts(x_BHTC: Tensor) -> Iterator[tuple[slice, slice]]:
    """Utterances and heads whose weights are made at once."""
    B, H, T, _ = x_BHTC.shape
    if x_BHTC.device.type != "cpu":
        yield slice(0, B), slice(0, H)
        return
    heads = max(1, min(H, PART // (T * T)))
    for b in range(B):
        for h in range(0, H, heads):
            yield slice(b, b + 1), slice(h, min(h + heads, H))


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_BTN: Tensor, k_BTN: Tensor, p_BTN: Tensor, r_XN: Tensor | None, hidden: Tensor,
        uses: Uses, heads: int, limit: float, penalty: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        q_BHTC, k_BHTC, p_BHTP = (by_head(x, heads) for x in (q_BTN, k_BTN, p_BTN))
        B, H, T, _ = q_BHTC.shape
        weights_BHTT = q_BTN.new_empty(B, H, T, T)
        excess_BHTT = torch.empty_like(weights_BHTT, dtype=torch.int8) if penalty else None
        for b, h in _parts(q_BHTC):
            if r_XN is None:
                scores = q_BHTC[b, h] @ k_BHTC[b, h].mT
            else:
                scores = by_key(p_BHTP[b, h] @ by_head(r_XN[None], heads)[:, h].mT)
                scores = torch.baddbmm(scores.flatten(0, 1), q_BHTC[b, h].flatten(0, 1), k_BHTC[b, h].flatten(0, 1).mT)
                scores = scores.unflatten(0, (b.stop - b.start, -1))
            if excess_BHTT is not None:
                excess_BHTT[b, h] = (scores > limit).to(torch.int8) - (scores < -limit).to(torch.int8)
            weights_BHTT[b, h] = torch.softmax(scores.add_(hidden[b]), dim=-1, dtype=torch.float32)
        ctx.save_for_backward(q_BTN, k_BTN, p_BTN, r_XN, weights_BHTT, excess_BHTT)
        ctx.uses, ctx.penalty = uses, penalty
        ctx.mark_non_differentiable(weights_BHTT)
        ctx.set_materialize_grads(False)
        return q_BTN.new_zeros(()), weights_BHTT

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        q_BTN, k_BTN, p_BTN, r_XN, weights_BHTT, excess_BHTT = ctx.saved_tensors
        uses: Uses = ctx.uses
        B, H, T, _ = weights_BHTT.shape
        q_BHTC, k_BHTC, p_BHTP = (by_head(x, H) for x in (q_BTN, k_BTN, p_BTN))
        g_BHTC = torch.cat([g for g, _ in uses.all_heads], dim=3)
        v_BHTC = torch.cat([v for _, v in uses.all_heads], dim=3)
        q_grad, k_grad, p_grad = torch.empty_like(q_BTN), torch.empty_like(k_BTN), torch.zeros_like(p_BTN)
        r_grad_HPX = None
        if r_XN is not None:
            r_HXP = by_head(r_XN[None], H)[0]
            r_grad_HPX = torch.zeros_like(r_HXP.mT, dtype=torch.float32)
        for b, h in _parts(q_BHTC):
            grad = g_BHTC[b, h] @ v_BHTC[b, h].mT
            if h.start == 0:
                for g_BTC, v_BTC in uses.first_head:
                    grad[:, 0].baddbmm_(g_BTC[b], v_BTC[b].mT)
            weights = weights_BHTT[b, h].float()
            grad = torch._softmax_backward_data(grad.float(), weights, -1, torch.float32)
            if excess_BHTT is not None:
                grad.add_(excess_BHTT[b, h], alpha=ctx.penalty)
            grad = grad.to(q_BTN.dtype)
            by_head(q_grad, H)[b, h] = grad @ k_BHTC[b, h]
            by_head(k_grad, H)[b, h] = grad.mT @ q_BHTC[b, h]
            if r_grad_HPX is not None:
                by_distance = grad.new_zeros(*grad.shape[:3], 2 * T - 1)
                by_key(by_distance).copy_(grad)
                # The few numbers per head as rows of the products, which is faster on a CPU.
                by_head(p_grad, H)[b, h] = (r_HXP[h].mT @ by_distance.mT).mT
                r_grad_HPX[h] += (p_BHTP[b, h].mT @ by_distance).sum(0)
        uses.all_heads.clear()
        uses.first_head.clear()
        r_grad = None if r_grad_HPX is None else r_grad_HPX.permute(2, 0, 1).flatten(1).to(q_BTN.dtype)
        return q_grad, k_grad, p_grad, r_grad, None, None, None, None, None


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v_BTN: Tensor, token: Tensor, weights_BHTT: Tensor, uses: Uses) -> Tensor:
        ctx.save_for_backward(v_BTN, weights_BHTT)
        ctx.uses = uses
        # The few channels as rows of the product: on a CPU twice as fast as the other way.
        y_BHCT = by_head(v_BTN, weights_BHTT.shape[1]).mT @ weights_BHTT.mT
        return from_heads(y_BHCT.mT)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTN: Tensor) -> tuple[Tensor | None, ...]:
        v_BTN, weights_BHTT = ctx.saved_tensors
        g_BHTC, v_BHTC = (by_head(x, weights_BHTT.shape[1]) for x in (grad_BTN, v_BTN))
        ctx.uses.all_heads.append((g_BHTC, v_BHTC))
        return from_heads((g_BHTC.mT @ weights_BHTT).mT), grad_BTN.new_zeros(()), None, None


def sums_of_heads(v_BTN: Tensor, shared: SharedWeights) -> Tensor:
    """W v for each head, (B, T, H C) -> the same."""
    if is_tracing():
        return from_heads(shared.weights_BHTT @ by_head(v_BTN, shared.weights_BHTT.shape[1]))
    return _Sums.apply(v_BTN, shared.token, shared.weights_BHTT, shared.uses)


class _GatedSums(torch.autograd.Function):
    """Keeps its inputs and W (u tanh(s)). Without `uses` the weights are constant."""

    @staticmethod
    def forward(
        ctx: Any, s_BTC: Tensor, u_BTC: Tensor, y_BTC: Tensor, token: Tensor, weights_BTT: Tensor, uses: Uses | None
    ) -> Tensor:
        sums_BTC = torch.bmm(weights_BTT, torch.tanh(s_BTC).mul_(u_BTC))
        ctx.save_for_backward(s_BTC, u_BTC, y_BTC, sums_BTC, weights_BTT)
        ctx.uses = uses
        return sums_BTC * y_BTC

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BTC: Tensor) -> tuple[Tensor | None, ...]:
        s_BTC, u_BTC, y_BTC, sums_BTC, weights_BTT = ctx.saved_tensors
        tanh_BTC = torch.tanh(s_BTC)
        sums_grad_BTC = grad_BTC * y_BTC
        if ctx.uses is not None:
            ctx.uses.first_head.append((sums_grad_BTC, tanh_BTC * u_BTC))
        inner_BTC = torch.bmm(weights_BTT.mT, sums_grad_BTC)
        u_grad_BTC = inner_BTC * tanh_BTC
        s_grad_BTC = tanh_BTC.square_().neg_().add_(1).mul_(u_BTC).mul_(inner_BTC)
        return s_grad_BTC, u_grad_BTC, grad_BTC * sums_BTC, grad_BTC.new_zeros(()), None, None


def gated_sums_of_first_head(
    s_BTC: Tensor, u_BTC: Tensor, y_BTC: Tensor, shared: SharedWeights, constant: bool
) -> Tensor:
    """y * (W (u * tanh(s))) with W of the first head; constant: with equal weights of all keys that it sees."""
    weights_BTT = shared.weights_BHTT[:, 0]
    if is_tracing():
        return (weights_BTT @ (torch.tanh(s_BTC) * u_BTC)) * y_BTC
    if constant:
        return _GatedSums.apply(s_BTC, u_BTC, y_BTC, shared.token, constant_weights(weights_BTT), None)
    return _GatedSums.apply(s_BTC, u_BTC, y_BTC, shared.token, weights_BTT, shared.uses)


def constant_weights(weights_BTT: Tensor) -> Tensor:
    """The same weight for every key that has one at all."""
    seen_BTT = (weights_BTT > 0).to(weights_BTT.dtype)
    # Under CUDA's autocast a sum is of float32.
    return seen_BTT / seen_BTT.sum(dim=-1, keepdim=True).to(seen_BTT.dtype)
