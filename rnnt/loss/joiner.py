"""Losses of the joiner logits(t, s) = W activation(enc[t] + pred[s]) + bias, from its inputs: no logits are stored."""

from __future__ import annotations

import torch
from torch import Tensor

from . import reference
from .backends import resolve
from .band import pack
from .compiling import eager
from .joiner_native import JoinerLoss, Options
from .lattice import check_rnnt_type
from .products import autocast_type


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
    dropout: float = 0.0,
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
        dropout: probability with which an activation is dropped before the output layer, from torch's CPU generator;
            0 in evaluation.
        backend: auto, native, reference or k2.
    Returns: loss_B = -log-likelihood; usable_B bool, false where no path exists: there the loss and its gradient are 0.
    Raises: ValueError for an unknown activation, rnnt_type or backend.
    """
    return _joiner_loss(
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation, rnnt_type,
        delay_penalty, dropout, backend,
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
    """The exact loss over the whole lattice (Graves 2012); otherwise as pruned_joiner_loss."""
    return _joiner_loss(
        enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, None, x_len_B, y_len_B, blank_id, activation, rnnt_type,
        delay_penalty, dropout, backend,
    )  # fmt: skip


@eager
def _joiner_loss(
    enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation, rnnt_type,
    delay_penalty, dropout, backend,
):  # fmt: skip
    check_rnnt_type(rnnt_type)
    if activation not in reference.ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(reference.ACTIVATIONS)}, not {activation!r}")
    if resolve(backend) != "native":
        return reference.joiner_loss(
            enc_BTJ, pred_BUJ, weight_VJ, bias_V, symbols_BS, ranges_BTR, x_len_B, y_len_B, blank_id, activation,
            rnnt_type, delay_penalty, dropout, backend,
        )  # fmt: skip
    device = enc_BTJ.device
    start_BT, R = (None, pred_BUJ.shape[1]) if ranges_BTR is None else (ranges_BTR[:, :, 0], ranges_BTR.shape[2])
    band = pack(start_BT, R, x_len_B, y_len_B, device)
    row_K = None
    if ranges_BTR is None:  # contexts past the end of a text cost nothing: lengths are on the CPU, so they are known
        s_len_N = torch.repeat_interleave(y_len_B, x_len_B)
        row_K = (torch.arange(R) <= s_len_N[:, None]).view(-1).nonzero()[:, 0].to(device, non_blocking=True)
    seed = int(torch.randint(2**31, ())) if dropout > 0 else 0
    options = Options(blank_id, activation, rnnt_type, delay_penalty, dropout, seed)
    tensors = cast_for_autocast(enc_BTJ, pred_BUJ, weight_VJ, bias_V)
    with torch.autocast(device.type, enabled=False):
        return JoinerLoss.apply(*tensors, symbols_BS, band, row_K, options)


def cast_for_autocast(*tensors: Tensor) -> list[Tensor]:
    """The tensors in one type: that of autocast where it is on, else the widest of theirs."""
    dtype = autocast_type(tensors[0].device.type)
    if dtype is None:
        dtype = max((x.dtype for x in tensors), key=lambda kind: torch.finfo(kind).bits)
    return [x.to(dtype) for x in tensors]
