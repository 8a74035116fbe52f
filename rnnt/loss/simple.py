"""The simple loss: a joiner that only adds, cheap enough for the whole lattice. It trains first and picks the band."""

from __future__ import annotations

import torch
from torch import Tensor

from . import reference
from .backends import resolve
from .compiling import eager
from .lattice import check_rnnt_type
from .simple_native import Options, SmoothedLoss


@eager
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
    """The smoothed simple loss of each utterance, with autograd, and the occupations for pruning.prune_ranges.

    The formulas are those of logprobs.get_rnnt_logprobs_smoothed and mutual_information_recursion.

    Args:
        am_BTV, lm_BUV: unnormalised logits of the encoder and of the predictor; any float type, sums in float32.
        symbols_BS: int64 token ids. x_len_B, y_len_B: frames and symbols, int64 on the CPU.
        blank_id: any id of the vocabulary. lm_only_scale, am_only_scale: smoothing, in [0, 1].
        rnnt_type: regular, modified or constrained. delay_penalty: a frame, as in lattice.delay_penalty_term.
        backend: auto, native, reference or k2.
    Returns: loss_B = -log-likelihood, 0 with zero gradient for an utterance without path; px_grad (B,S,T+1) or
        (B,S,T); py_grad (B,U,T), constants.
    Raises: ValueError for an unknown rnnt_type or backend.
    """
    check_rnnt_type(rnnt_type)
    if resolve(backend) != "native":
        scales = (lm_only_scale, am_only_scale)
        return reference.smoothed_loss(
            am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, blank_id, scales, rnnt_type, delay_penalty, backend
        )
    options = Options(blank_id, lm_only_scale, am_only_scale, rnnt_type, delay_penalty)
    with torch.autocast(am_BTV.device.type, enabled=False):
        loss_B, px_grad, py_grad = SmoothedLoss.apply(am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, options)
    return torch.where(loss_B < torch.inf, loss_B, 0.0), px_grad, py_grad
