"""The CTC loss of a linear layer on the encoder's output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.layers import Linear
from rnnt.model.masking import valid_mask
from rnnt.model.objectives.base import EncodedBatch, Loss, Objective

if TYPE_CHECKING:
    from rnnt.model.objectives.config import CTCConfig
    from rnnt.model.transducer import Transducer


class CTCObjective(Objective):
    """CTC (Graves et al. 2006, https://doi.org/10.1145/1143844.1143891): the loss of a model of its own.

    Beside a transducer loss it is a direct signal for the encoder, which gets sooner off the plateau of blanks.
    """

    config: CTCConfig

    def __init__(self, network: Transducer, config: CTCConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.ctc_dropout)
        self.output = Linear(network.encoder.dim, network.vocab_size)

    def log_probs(self, h_BTD: Tensor) -> Tensor:
        """Encoder output (B, T, D) -> log-probabilities (B, T, V) of tokens and blank on each frame."""
        return F.log_softmax(self.output(self.dropout(h_BTD)).float(), dim=-1)

    def forward(self, batch: EncodedBatch, step: int) -> Loss:
        """The loss of a batch; utterances with more tokens than frames count as zero.

        Raises:
            ValueError: the consistency is asked for, and there are not two copies of the batch.
        """
        if self.config.copies != batch.copies and self.config.use_cr_ctc:
            raise ValueError(f"--use-cr-ctc compares two copies of a batch, and there are {batch.copies}")
        logp_BTV = self.log_probs(batch.h_BTD)
        loss = F.ctc_loss(
            logp_BTV.transpose(0, 1), batch.y_BS, batch.h_len_B, batch.y_len_B,
            blank=batch.network.blank_id, reduction="sum", zero_infinity=True,
        )  # fmt: skip
        total, terms = self.config.ctc_loss_scale * loss, {"ctc": loss}
        if self.config.use_cr_ctc:
            terms["cr"] = consistency(logp_BTV, batch.h_len_B)
            total = total + self.config.consistency_scale(step) * terms["cr"]
        return Loss(total, terms)


def consistency(logp_BTV: Tensor, h_len_B: Tensor) -> Tensor:
    """How much two copies of a batch differ in what they say of each frame: CR-CTC.

    Source: Yao et al. 2024, https://arxiv.org/abs/2410.05101. With p and q the distributions of a frame in the two
    copies, it is KL(sg(q) || p) + KL(sg(p) || q), summed over frames; no gradient flows through sg.

    Args:
        logp_BTV: log-probabilities, the first copy of all utterances, then the second.
        h_len_B: frames of each.

    Returns:
        The sum over utterances, frames and both directions.
    """
    one_BTV, two_BTV = logp_BTV.chunk(2)
    target_BTV = torch.cat((two_BTV, one_BTV)).detach()
    difference_BT = F.kl_div(logp_BTV, target_BTV, reduction="none", log_target=True).sum(dim=2)
    return difference_BT.masked_fill(~valid_mask(h_len_B.to(logp_BTV.device), logp_BTV.shape[1]), 0.0).sum()
