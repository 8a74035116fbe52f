"""The losses by a k2 that is installed: backend `k2`, to compare with and to fall back to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnt.loss.lattice import has_path, sum_type
from rnnt.loss.options import JoinerInputs, JoinerLossOptions, SimpleLossOptions
from rnnt.loss.reference import joiner_logits, k2_boundary


def import_k2() -> Any:
    """Import the k2 module.

    Raises:
        ValueError: with the remedy, where it does not import.
    """
    try:
        import k2
    except Exception as error:
        raise ValueError(f"backend k2 needs a k2 built for torch {torch.__version__}: {error}") from error
    return k2


def solve(px: Tensor, py: Tensor, s_len_B: Tensor, t_len_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k2's recursion, with zero instead of its arbitrary gradient where there is no path; as `reference.solve`."""
    boundary = k2_boundary(t_len_B, s_len_B, px.device)
    score_B, (px_grad, py_grad) = import_k2().mutual_information_recursion(
        px.detach().contiguous(), py.detach().contiguous(), boundary, return_grad=True
    )
    has_path_B11 = ~(score_B <= -1e20)[:, None, None]
    score_B = torch.where(has_path_B11[:, 0, 0], score_B, -torch.inf)
    return score_B, px_grad * has_path_B11, py_grad * has_path_B11


def smoothed_loss(
    am_BTV: Tensor, lm_BUV: Tensor, symbols_BS: Tensor, x_len_B: Tensor, y_len_B: Tensor, options: SimpleLossOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """As `rnnt.loss.simple.smoothed_loss`."""
    boundary, usable_B = _boundary(x_len_B, y_len_B, options.rnnt_type, am_BTV.device)
    scales = (options.lm_only_scale, options.am_only_scale)
    more = (*scales, boundary, options.rnnt_type, options.delay_penalty, "none", True)
    lm_BUV, am_BTV = (x.to(sum_type(x.dtype)) for x in (lm_BUV, am_BTV))
    loss_B, grads = import_k2().rnnt_loss_smoothed(lm_BUV, am_BTV, symbols_BS, options.blank, *more)
    px_grad, py_grad = (torch.where(usable_B[:, None, None], g, 0.0) for g in grads)
    return torch.where(usable_B, loss_B, 0.0), px_grad, py_grad


def joiner_loss(
    inputs: JoinerInputs,
    symbols_BS: Tensor,
    ranges_BTR: Tensor | None,
    x_len_B: Tensor,
    y_len_B: Tensor,
    options: JoinerLossOptions,
) -> tuple[Tensor, Tensor]:
    """As `rnnt.loss.joiner.pruned_joiner_loss`, and where `ranges_BTR` is None as `full_joiner_loss`."""
    k2 = import_k2()
    boundary, usable_B = _boundary(x_len_B, y_len_B, options.rnnt_type, inputs.enc_BTJ.device)
    logits = joiner_logits(inputs, ranges_BTR, options.activation, options.dropout)
    more = (options.blank, boundary, options.rnnt_type, options.delay_penalty, "none")
    if ranges_BTR is None:
        loss_B = k2.rnnt_loss(logits, symbols_BS, *more)
    else:
        loss_B = k2.rnnt_loss_pruned(logits, symbols_BS, ranges_BTR, *more)
    # Where the ranges leave an utterance without a path, only its loss shows it.
    usable_B = usable_B & ~(loss_B.detach() >= 1e20)
    return torch.where(usable_B, loss_B, 0.0), usable_B


def _boundary(x_len_B: Tensor, y_len_B: Tensor, rnnt_type: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """k2's boundary (B,4), and which utterances have a path (B,). Those without get an empty text."""
    usable_B = has_path(x_len_B, y_len_B, rnnt_type)
    return k2_boundary(x_len_B, y_len_B * usable_B, device), usable_B.to(device)
