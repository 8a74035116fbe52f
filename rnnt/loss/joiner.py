"""Losses of the joiner logits(t, s) = W activation(enc[t] + pred[s]) + bias, from its inputs: no logits are stored."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss import reference
from rnnt.loss.backends import resolve
from rnnt.loss.k2 import installed
from rnnt.loss.lattice import check_rnnt_type
from rnnt.loss.native.band import pack, with_arcs_only
from rnnt.loss.native.joiner import JoinerLoss
from rnnt.loss.options import JoinerInputs, JoinerLossOptions
from rnnt.ops.compiling import disable_compile
from rnnt.ops.matmul import autocast_type


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
    """The pruned loss per utterance, with autograd to enc, pred, weight and bias.

    The formulas are those of `logprobs.get_rnnt_logprobs_pruned` and `mutual_information_recursion`.

    Args:
        enc_BTJ: projected encoder output. All four tensors of the joiner may be of any float type: matrix products
            are in that type (under autocast in its type), sums in float32.
        pred_BUJ: projected predictor output.
        weight_VJ: weight of the output layer.
        bias_V: its bias.
        symbols_BS: target tokens, int64.
        ranges_BTR: states to keep at each frame, from `pruning.prune_ranges`: windows begin at 0, never move down.
        x_len_B: frames per utterance, int64 on the CPU.
        y_len_B: target tokens per utterance, int64 on the CPU.
        blank_id: any id of the vocabulary.
        activation: tanh or relu.
        rnnt_type: regular, modified or constrained.
        delay_penalty: per frame, as in `lattice.delay_penalty_term`.
        dropout: probability with which an activation is dropped before the output layer, from torch's CPU generator;
            0 in evaluation.
        backend: auto, native, reference or k2.

    Returns:
        loss_B, the negative log-likelihood; usable_B bool, false where no path exists: there the loss and its gradient
        are 0.

    Raises:
        ValueError: when `activation`, `rnnt_type` or `backend` is unknown.
    """
    inputs = JoinerInputs(enc_BTJ, pred_BUJ, weight_VJ, bias_V)
    options = JoinerLossOptions(blank_id, activation, rnnt_type, delay_penalty, dropout)
    return _joiner_loss(inputs, symbols_BS, ranges_BTR, x_len_B, y_len_B, options, backend)


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
    """The exact loss over the complete lattice (Graves 2012); otherwise as `pruned_joiner_loss`."""
    inputs = JoinerInputs(enc_BTJ, pred_BUJ, weight_VJ, bias_V)
    options = JoinerLossOptions(blank_id, activation, rnnt_type, delay_penalty, dropout)
    return _joiner_loss(inputs, symbols_BS, None, x_len_B, y_len_B, options, backend)


@disable_compile
def _joiner_loss(
    inputs: JoinerInputs,
    symbols_BS: Tensor,
    ranges_BTR: Tensor | None,
    x_len_B: Tensor,
    y_len_B: Tensor,
    options: JoinerLossOptions,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """The loss on the nodes of `ranges_BTR`, or on all of them where that is None."""
    check_rnnt_type(options.rnnt_type)
    if options.activation not in reference.ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(reference.ACTIVATIONS)}, not {options.activation!r}")
    backend = resolve(backend)
    if backend == "reference":
        return reference.joiner_loss(inputs, symbols_BS, ranges_BTR, x_len_B, y_len_B, options)
    if backend == "k2":
        return installed.joiner_loss(inputs, symbols_BS, ranges_BTR, x_len_B, y_len_B, options)
    device = inputs.enc_BTJ.device
    if ranges_BTR is None:
        band = with_arcs_only(pack(None, inputs.pred_BUJ.shape[1], x_len_B, y_len_B, device))
    else:
        band = pack(ranges_BTR[:, :, 0], ranges_BTR.shape[2], x_len_B, y_len_B, device)
    if options.dropout > 0:
        options = options._replace(seed=int(torch.randint(2**31, ())))
    tensors = cast_for_autocast(*inputs)
    with torch.autocast(device.type, enabled=False):
        return JoinerLoss.apply(*tensors, symbols_BS, band, options)


def cast_for_autocast(*tensors: Tensor) -> list[Tensor]:
    """The tensors in one type: that of autocast where it is on, else the widest among them."""
    dtype = autocast_type(tensors[0].device.type)
    if dtype is None:
        dtype = max((x.dtype for x in tensors), key=lambda kind: torch.finfo(kind).bits)
    return [x.to(dtype) for x in tensors]
