"""Losses of the joiner logits(t, s) = W activation(enc[t] + pred[s]) + bias, from its inputs: no logits are stored."""

from __future__ import annotations

from torch import Tensor

from . import reference
from .backends import resolve
from .lattice import check_rnnt_type


def pruned_joiner_loss(
    enc_BTJ: Tensor,
    pred_BUJ: Tensor,
    weight_VJ: Tensor,
    bias_V: Tensor,
    symbols_BS: Tensor,
    ranges_BTR: Tensor,
    x_len_B: Tensor,
    y_len_B: Tensor,
    *,
    blank_id: int,
    activation: str = "tanh",
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The pruned loss of each utterance, with autograd to enc, pred, weight and bias.

    The formulas are those of logprobs.get_rnnt_logprobs_pruned and mutual_information_recursion.

    Args:
        enc_BTJ, pred_BUJ: projected encoder and predictor outputs. weight_VJ, bias_V: the output layer. Any float type;
            matrix products in that type (under autocast in its type), sums in float32.
        symbols_BS: int64 token ids. ranges_BTR: contexts of each frame, from pruning.prune_ranges.
        x_len_B, y_len_B: frames and symbols, int64 on the CPU. blank_id: any id of the vocabulary.
        activation: tanh or relu. rnnt_type: regular, modified or constrained. delay_penalty: a frame.
        backend: auto, native, reference or k2.
    Returns: loss_B = -log-likelihood; usable_B bool, false where no path exists: there the loss and its gradient are 0.
    Raises: ValueError for an unknown activation, rnnt_type or backend.
    """
    return _joiner_loss(
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation, rnnt_type,
        delay_penalty, 0.0, backend,
    )  # fmt: skip


def full_joiner_loss(
    enc_BTJ: Tensor,
    pred_BUJ: Tensor,
    weight_VJ: Tensor,
    bias_V: Tensor,
    symbols_BS: Tensor,
    x_len_B: Tensor,
    y_len_B: Tensor,
    *,
    blank_id: int,
    activation: str = "tanh",
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
    dropout: float = 0.0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The exact loss over the whole lattice (Graves 2012), with autograd to enc, pred, weight and bias.

    dropout: probability with which an activation is dropped before the output layer, from torch's CPU generator;
    0 in evaluation. Otherwise as pruned_joiner_loss.
    """
    return _joiner_loss(
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, None, x_len_B, y_len_B, blank_id, activation, rnnt_type,
        delay_penalty, dropout, backend,
    )  # fmt: skip


def _joiner_loss(
    enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation, rnnt_type,
    delay_penalty, dropout, backend,
):  # fmt: skip
    check_rnnt_type(rnnt_type)
    if activation not in reference.ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(reference.ACTIVATIONS)}, not {activation!r}")
    return reference.joiner_loss(
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation, rnnt_type,
        delay_penalty, dropout, resolve(backend),
    )  # fmt: skip
