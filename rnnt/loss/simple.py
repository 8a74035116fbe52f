"""The simple loss: a joiner that only adds, cheap enough for the complete lattice. It comes first and sets the band."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss import reference
from rnnt.loss.backends import resolve
from rnnt.loss.k2 import installed
from rnnt.loss.lattice import check_rnnt_type
from rnnt.loss.native.simple import SmoothedLoss
from rnnt.loss.options import SimpleLossOptions
from rnnt.ops.compiling import disable_compile


@disable_compile
def smoothed_loss(
    am_BTV: Tensor,
    lm_BUV: Tensor,
    symbols_BS: Tensor,
    x_len_B: Tensor,
    y_len_B: Tensor,
    *,
    blank_id: int,
    lm_only_scale: float,
    am_only_scale: float,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """The smoothed simple loss per utterance, with autograd, and the occupations for `pruning.prune_ranges`.

    The formulas are those of `logprobs.get_rnnt_logprobs_smoothed` and `mutual_information_recursion`.

    Args:
        am_BTV: unnormalised logits of the encoder; any float type, sums in float32.
        lm_BUV: unnormalised logits of the predictor, likewise.
        symbols_BS: target tokens, int64.
        x_len_B: frames per utterance, int64 on the CPU.
        y_len_B: target tokens per utterance, int64 on the CPU.
        blank_id: any id of the vocabulary.
        lm_only_scale: weight of the predictor's own log-probabilities, in [0, 1].
        am_only_scale: weight of the encoder's own, in [0, 1].
        rnnt_type: regular, modified or constrained.
        delay_penalty: per frame, as in `lattice.delay_penalty_term`.
        backend: auto, native, reference or k2.

    Returns:
        loss_B, the negative log-likelihood, 0 with zero gradient for an utterance without a path; and the occupations
        px_grad (B,S,T+1) or (B,S,T) and py_grad (B,U,T), which are constants.

    Raises:
        ValueError: when `rnnt_type` or `backend` is unknown.
    """
    check_rnnt_type(rnnt_type)
    backend = resolve(backend)
    options = SimpleLossOptions(blank_id, lm_only_scale, am_only_scale, rnnt_type, delay_penalty)
    if backend == "reference":
        return reference.smoothed_loss(am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, options)
    if backend == "k2":
        return installed.smoothed_loss(am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, options)
    with torch.autocast(am_BTV.device.type, enabled=False):
        loss_B, px_grad, py_grad = SmoothedLoss.apply(am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, options)
    return torch.where(loss_B == torch.inf, 0.0, loss_B), px_grad, py_grad
