"""The loss of a token-and-duration transducer, whose joiner also says for how many frames a token or blank lasts."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss import reference, reference_tdt
from rnnt.loss.backends import resolve
from rnnt.loss.durations import check_durations
from rnnt.loss.joiner import cast_for_autocast
from rnnt.loss.native.band import pack, with_arcs_only
from rnnt.loss.native.tdt import TDTLoss
from rnnt.loss.options import TDTInputs, TDTOptions
from rnnt.ops.compiling import disable_compile


@disable_compile
def tdt_joiner_loss(
    enc_BTJ: Tensor,
    pred_BUJ: Tensor,
    weight_VJ: Tensor,
    bias_V: Tensor,
    duration_weight_DJ: Tensor,
    duration_bias_D: Tensor,
    symbols_BS: Tensor,
    x_len_B: Tensor,
    y_len_B: Tensor,
    *,
    durations: tuple[int, ...],
    blank_id: int,
    sigma: float = 0.0,
    activation: str = "tanh",
    delay_penalty: float = 0.0,
    dropout: float = 0.0,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """The exact TDT loss per utterance, with autograd to the first six tensors.

    At each node the joiner gives a distribution over tokens and blank and, apart from it, one over durations. A path
    goes from frame 0 to exactly T_b, by arcs that last as many frames as their durations; only tokens may last none,
    the last arc is a blank, and a token ends before T_b. The formula is that of `reference_tdt.log_likelihood`.

    Source: Xu et al. 2023, https://arxiv.org/abs/2304.06795.

    Args:
        enc_BTJ: projected encoder output.
        pred_BUJ: projected predictor output, U = S + 1.
        weight_VJ: output layer of the tokens.
        bias_V: its bias.
        duration_weight_DJ: output layer of the durations.
        duration_bias_D: its bias.
        symbols_BS: target tokens, any id as padding.
        x_len_B: encoder frames, int64 on the CPU.
        y_len_B: target tokens, likewise.
        durations: the D durations in frames.
        blank_id: id of blank.
        sigma: subtracted from the log-probability of each token and blank, so that long jumps are preferred; 0 in
            evaluation (the paper's logit under-normalisation).
        activation: tanh or relu.
        delay_penalty: per frame, as in `lattice.delay_penalty_term`.
        dropout: as in `joiner.pruned_joiner_loss`.
        backend: auto, native or reference.

    Returns:
        loss_B, the negative log-likelihood; usable_B bool, false where no path exists: there the loss and its gradient
        are 0.

    Raises:
        ValueError: `activation` or `backend` is unknown, or the durations can't be used.
    """
    if activation not in reference.ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(reference.ACTIVATIONS)}, not {activation!r}")
    check_durations(durations)
    if len(durations) != len(duration_bias_D):
        raise ValueError(f"{len(durations)} durations, but the output layer has {len(duration_bias_D)}")
    inputs = TDTInputs(enc_BTJ, pred_BUJ, weight_VJ, bias_V, duration_weight_DJ, duration_bias_D)
    options = TDTOptions(blank_id, tuple(durations), sigma, activation, delay_penalty, dropout)
    backend = resolve(backend)
    if backend == "reference":
        return reference_tdt.joiner_loss(inputs, symbols_BS, x_len_B, y_len_B, options)
    if backend == "k2":
        raise ValueError("k2 has no TDT loss; backend native has")
    device = enc_BTJ.device
    band = with_arcs_only(pack(None, pred_BUJ.shape[1], x_len_B, y_len_B, device))
    if dropout > 0:
        options = options._replace(seed=int(torch.randint(2**31, ())))
    tensors = cast_for_autocast(*inputs)
    with torch.autocast(device.type, enabled=False):
        return TDTLoss.apply(*tensors, symbols_BS, band, options)
