"""The trainer's losses in a few lines of plain PyTorch, holding everything: the oracle for the native ones.

They are written for k2's interface, so that a real k2 can take the place of our own plain functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import compat
from .backends import import_k2
from .lattice import has_path
from .pruning import do_rnnt_pruning

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


def _losses(backend: str):
    """The module with k2's interface, and the keywords that select our own plain recursion in it."""
    return (import_k2(), {}) if backend == "k2" else (compat, {"backend": "native"})


def _boundary(x_len_B: Tensor, y_len_B: Tensor, rnnt_type: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """k2's boundary (B,4), and which utterances have a path (B,). The text of those without is taken as empty."""
    usable_B = has_path(x_len_B, y_len_B, rnnt_type)
    zero_B = torch.zeros_like(x_len_B)
    boundary = torch.stack((zero_B, zero_B, y_len_B * usable_B, x_len_B), 1)
    return boundary.to(device), usable_B.to(device)


def _at_least_float32(*tensors: Tensor) -> list[Tensor]:
    return [x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in tensors]


def smoothed_loss(
    am_BTV, lm_BUV, symbols_BS, x_len_B, y_len_B, blank_id, scales, rnnt_type, delay_penalty, backend
) -> tuple[Tensor, Tensor, Tensor]:
    """See simple.smoothed_loss; scales are (lm_only_scale, am_only_scale)."""
    losses, chosen = _losses(backend)
    boundary, usable_B = _boundary(x_len_B, y_len_B, rnnt_type, am_BTV.device)
    am_BTV, lm_BUV = _at_least_float32(am_BTV, lm_BUV)
    options = (*scales, boundary, rnnt_type, delay_penalty, "none", True)
    loss_B, grads = losses.rnnt_loss_smoothed(lm_BUV, am_BTV, symbols_BS, blank_id, *options, **chosen)
    px_grad, py_grad = (usable_B[:, None, None] * g for g in grads)
    return usable_B * loss_B, px_grad, py_grad


def joiner_loss(
    enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation, rnnt_type,
    delay_penalty, dropout, backend,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See joiner.pruned_joiner_loss, and with ranges_BTR None joiner.full_joiner_loss."""
    losses, chosen = _losses(backend)
    boundary, usable_B = _boundary(x_len_B, y_len_B, rnnt_type, enc_BTJ.device)
    if ranges_BTR is None:
        enc, pred = enc_BTJ[:, :, None], pred_BUJ[:, None]
    else:
        enc, pred = do_rnnt_pruning(enc_BTJ, pred_BUJ, ranges_BTR)
    hidden = torch.nn.functional.dropout(ACTIVATIONS[activation](enc + pred), dropout)
    (logits,) = _at_least_float32(torch.nn.functional.linear(hidden, weight_VJ, bias_V))
    options = (blank_id, boundary, rnnt_type, delay_penalty, "none")
    if ranges_BTR is None:
        loss_B = losses.rnnt_loss(logits, symbols_BS, *options, **chosen)
    else:
        loss_B = losses.rnnt_loss_pruned(logits, symbols_BS, ranges_BTR, *options, **chosen)
    # Ranges that leave an utterance no path show in its loss alone.
    usable_B = usable_B & (loss_B.detach() < 1e20)
    return torch.where(usable_B, loss_B, 0.0), usable_B
