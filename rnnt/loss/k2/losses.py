"""k2's transducer losses under their names: same arguments, shapes, defaults, returns and reductions.

Better than k2: S = 0 works; an utterance without any path has an infinite loss under reduction "none", is left out of
"sum" and adds zero to "mean", and its gradient is zero, so it never spoils the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss.backends import resolve
from rnnt.loss.k2 import logprobs
from rnnt.loss.k2.installed import import_k2
from rnnt.loss.k2.recursion import read_boundary, solve_lattice
from rnnt.loss.lattice import check_rnnt_type, delay_penalty_term
from rnnt.loss.native.simple import SmoothedLoss
from rnnt.loss.options import SimpleLossOptions
from rnnt.ops.compiling import disable_compile


def _loss(
    px: Tensor, py: Tensor, boundary: Tensor | None, delay_penalty: float, reduction: str | None, backend: str
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The reduced loss of the arcs, to which the delay penalty is added first, and the occupations."""
    if delay_penalty > 0.0:
        T = py.shape[2]
        t_end_B = boundary[:, 3] if boundary is not None else torch.full((px.shape[0],), T)
        t_T = torch.arange(px.shape[2], device=px.device)
        px = px + delay_penalty_term(t_end_B.to(px.device)[:, None, None], t_T, delay_penalty, px.dtype)
    score_B, px_grad, py_grad = solve_lattice(px, py, boundary, backend)
    return reduce(-score_B, reduction), (px_grad, py_grad)


def reduce(loss_B: Tensor, reduction: str | None) -> Tensor:
    """Reduce the losses of a batch.

    Args:
        loss_B: infinite for utterances without a path.
        reduction: none (as it is), or sum or mean over the utterances, those without a path counting as zero; of no
            utterances both are zero.

    Returns:
        (B,) or ().

    Raises:
        ValueError: when `reduction` is none of these.
    """
    if reduction == "none":
        return loss_B
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be none, mean or sum, not {reduction!r}")
    finite_B = torch.where(loss_B == torch.inf, 0.0, loss_B)
    return finite_B.mean() if reduction == "mean" and len(finite_B) else finite_B.sum()


@disable_compile
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
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """The loss of the additive joiner; see `logprobs.get_rnnt_logprobs` and `mutual_information_recursion`.

    Args:
        lm: (B,S+1,V) unnormalised.
        am: (B,T,V) unnormalised.
        symbols: (B,S) int64.
        termination_symbol: the id of blank.
        boundary: (B,4) int64, as in `mutual_information_recursion`.
        rnnt_type: regular, modified or constrained.
        delay_penalty: per frame, as in `lattice.delay_penalty_term`.
        reduction: none, mean or sum.
        return_grad: whether to return the occupations too.
        backend: auto, native, reference or k2.

    Returns:
        loss, (B,) or (); with `return_grad` (loss, (px_grad, py_grad)).
    """
    if backend == "k2":
        return import_k2().rnnt_loss_simple(
            lm, am, symbols, termination_symbol, boundary, rnnt_type, delay_penalty, reduction, return_grad
        )
    return rnnt_loss_smoothed(
        lm, am, symbols, termination_symbol, 0.0, 0.0, boundary, rnnt_type, delay_penalty, reduction, return_grad,
        backend,
    )  # fmt: skip


@disable_compile
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
) -> Tensor | tuple[Tensor, tuple[Tensor, Tensor]]:
    """The smoothed loss of the additive joiner, see `get_rnnt_logprobs_smoothed`; otherwise as `rnnt_loss_simple`."""
    scales = (lm_only_scale, am_only_scale)
    if backend == "k2":
        return import_k2().rnnt_loss_smoothed(
            lm, am, symbols, termination_symbol, *scales, boundary, rnnt_type, delay_penalty, reduction, return_grad
        )
    B, S = symbols.shape
    begin_B2, end_B2 = read_boundary(boundary, B, S, am.shape[1])
    if resolve(backend) == "native" and not begin_B2.any():
        check_rnnt_type(rnnt_type)
        options = SimpleLossOptions(termination_symbol, *scales, rnnt_type, delay_penalty)
        loss_B, px_grad, py_grad = SmoothedLoss.apply(am, lm, symbols, end_B2[:, 1], end_B2[:, 0], options)
        loss, grads = reduce(loss_B, reduction), (px_grad, py_grad)
    else:
        px, py = logprobs.get_rnnt_logprobs_smoothed(lm, am, symbols, termination_symbol, *scales, boundary, rnnt_type)
        loss, grads = _loss(px, py, boundary, delay_penalty, reduction, backend)
    return (loss, grads) if return_grad else loss


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
    """The full-sum loss of logits (B,T,S+1,V). Otherwise as `rnnt_loss_simple`; see also `joiner.full_joiner_loss`."""
    if backend == "k2":
        return import_k2().rnnt_loss(logits, symbols, termination_symbol, boundary, rnnt_type, delay_penalty, reduction)
    px, py = logprobs.get_rnnt_logprobs_joint(logits, symbols, termination_symbol, rnnt_type, boundary)
    return _loss(px, py, boundary, delay_penalty, reduction, backend)[0]


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
    """The pruned loss. `joiner.pruned_joiner_loss` is the same without the logits in memory.

    Args:
        logits: (B,T,R,V).
        symbols: (B,S) int64.
        ranges: the states that the logits are for, (B,T,R) int64.
        termination_symbol: this and the others as in `rnnt_loss_simple`.
        use_hat_loss: normalise as a hybrid autoregressive transducer, see `get_hat_logprobs_pruned`.

    Returns:
        loss, (B,) or ().
    """
    if backend == "k2":
        hat = {"use_hat_loss": True} if use_hat_loss else {}  # older versions of k2 do not know the option
        return import_k2().rnnt_loss_pruned(
            logits, symbols, ranges, termination_symbol, boundary, rnnt_type, delay_penalty, reduction, **hat
        )
    arcs = logprobs.get_hat_logprobs_pruned if use_hat_loss else logprobs.get_rnnt_logprobs_pruned
    px, py = arcs(logits, symbols, ranges, termination_symbol, boundary, rnnt_type)
    return _loss(px, py, boundary, delay_penalty, reduction, backend)[0]
