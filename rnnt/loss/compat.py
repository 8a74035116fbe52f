"""k2's transducer losses under their names: same arguments, shapes, defaults, returns and reductions.

Better than k2: S = 0 works; an utterance without any path has an infinite loss under reduction "none", is left out of
"sum" and adds zero to "mean", and its gradient is zero, so it never spoils the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import logprobs
from .backends import import_k2, resolve
from .compiling import eager
from .lattice import check_rnnt_type, delay_penalty_term
from .mutual_information import mutual_information_recursion, read_boundary
from .simple_native import Options, SmoothedLoss


def _loss(px, py, boundary, rnnt_type, delay_penalty, reduction, return_grad, backend):
    """The recursion over the arcs, with the delay penalty before and the reduction after."""
    if delay_penalty > 0.0:
        T = py.shape[2]
        t_end_B = boundary[:, 3] if boundary is not None else torch.full((px.shape[0],), T)
        t_T = torch.arange(px.shape[2], device=px.device)
        px = px + delay_penalty_term(t_end_B.to(px.device)[:, None, None], t_T, delay_penalty, px.dtype)
    score_B, grads = mutual_information_recursion(px, py, boundary, return_grad=True, backend=backend)
    loss = reduce(-score_B, reduction)
    return (loss, grads) if return_grad else loss


def reduce(loss_B: Tensor, reduction: str | None) -> Tensor:
    """none: as it is; sum or mean over the utterances, those without a path counting as zero. ValueError for others."""
    if reduction == "none":
        return loss_B
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be none, mean or sum, not {reduction!r}")
    finite_B = torch.where(loss_B == torch.inf, 0.0, loss_B)
    return finite_B.mean() if reduction == "mean" else finite_B.sum()


@eager
def rnnt_loss_simple(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str | None = "mean",
    return_grad: bool = False,
    backend: str = "auto",
):
    """The loss of the additive joiner; see logprobs.get_rnnt_logprobs and mutual_information_recursion.

    Args: lm (B,S+1,V), am (B,T,V) unnormalised; symbols (B,S); boundary (B,4); delay_penalty a frame; reduction none,
        mean or sum; return_grad: return the occupations too.
    Returns: loss, (B,) or (); with return_grad (loss, (px_grad, py_grad)).
    """
    if backend == "k2":
        return import_k2().rnnt_loss_simple(
            lm, am, symbols, termination_symbol, boundary, rnnt_type, delay_penalty, reduction, return_grad
        )
    return rnnt_loss_smoothed(
        lm, am, symbols, termination_symbol, 0.0, 0.0, boundary, rnnt_type, delay_penalty, reduction, return_grad,
        backend,
    )  # fmt: skip


@eager
def rnnt_loss_smoothed(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    lm_only_scale: float = 0.1,
    am_only_scale: float = 0.1,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str | None = "mean",
    return_grad: bool = False,
    backend: str = "auto",
):
    """The smoothed loss of the additive joiner, see logprobs.get_rnnt_logprobs_smoothed; else as rnnt_loss_simple."""
    scales = (lm_only_scale, am_only_scale)
    if backend == "k2":
        return import_k2().rnnt_loss_smoothed(
            lm, am, symbols, termination_symbol, *scales, boundary, rnnt_type, delay_penalty, reduction, return_grad
        )
    begin_B2, end_B2 = read_boundary(boundary, *symbols.shape, am.shape[1])
    if resolve(backend) == "native" and not begin_B2.any():
        check_rnnt_type(rnnt_type)
        options = Options(termination_symbol, *scales, rnnt_type, delay_penalty)
        loss_B, *grads = SmoothedLoss.apply(am, lm, symbols, end_B2[:, 1], end_B2[:, 0], options)
        loss = reduce(loss_B, reduction)
        return (loss, tuple(grads)) if return_grad else loss
    px, py = logprobs.get_rnnt_logprobs_smoothed(lm, am, symbols, termination_symbol, *scales, boundary, rnnt_type)
    return _loss(px, py, boundary, rnnt_type, delay_penalty, reduction, return_grad, backend)


def rnnt_loss(
    logits: Tensor,
    symbols: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str | None = "mean",
    backend: str = "auto",
) -> Tensor:
    """The full-sum loss of logits (B,T,S+1,V). Otherwise as rnnt_loss_simple; see also joiner.full_joiner_loss."""
    if backend == "k2":
        return import_k2().rnnt_loss(logits, symbols, termination_symbol, boundary, rnnt_type, delay_penalty, reduction)
    px, py = logprobs.get_rnnt_logprobs_joint(logits, symbols, termination_symbol, rnnt_type, boundary)
    return _loss(px, py, boundary, rnnt_type, delay_penalty, reduction, False, backend)


def rnnt_loss_pruned(
    logits: Tensor,
    symbols: Tensor,
    ranges: Tensor,
    termination_symbol: int,
    boundary: Tensor | None = None,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    reduction: str | None = "mean",
    use_hat_loss: bool = False,
    backend: str = "auto",
) -> Tensor:
    """The pruned loss of logits (B,T,R,V) at contexts ranges (B,T,R). Otherwise as rnnt_loss_simple.

    use_hat_loss: normalise as a hybrid autoregressive transducer, see logprobs.get_hat_logprobs_pruned.
    See also joiner.pruned_joiner_loss, which needs no logits in memory.
    """
    if backend == "k2":
        hat = {"use_hat_loss": True} if use_hat_loss else {}  # older versions of k2 do not know the option
        return import_k2().rnnt_loss_pruned(
            logits, symbols, ranges, termination_symbol, boundary, rnnt_type, delay_penalty, reduction, **hat
        )
    arcs = logprobs.get_hat_logprobs_pruned if use_hat_loss else logprobs.get_rnnt_logprobs_pruned
    px, py = arcs(logits, symbols, ranges, termination_symbol, boundary, rnnt_type)
    return _loss(px, py, boundary, rnnt_type, delay_penalty, reduction, False, backend)
