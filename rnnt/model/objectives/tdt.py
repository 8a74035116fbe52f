"""The loss of a token-and-duration transducer, with the layer that says how long a token or blank lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from rnnt.loss import full_joiner_loss, tdt_joiner_loss
from rnnt.model.objectives.base import EncodedBatch, Loss
from rnnt.model.objectives.transducer import JoinerObjective

if TYPE_CHECKING:
    from rnnt.model.objectives.config import TDTConfig
    from rnnt.model.transducer import Transducer


class TDTObjective(JoinerObjective):
    """-log p(y | x) over all alignments with durations (Xu et al. 2023, https://arxiv.org/abs/2304.06795).

    The joiner's own output layer is that of the tokens; `duration_output` is a second one on the same activations.
    """

    config: TDTConfig

    def __init__(self, network: Transducer, config: TDTConfig) -> None:
        super().__init__(config)
        self.duration_output = nn.Linear(network.joiner.output.in_features, len(config.durations))

    def forward(self, batch: EncodedBatch, step: int) -> Loss:
        """The loss of a batch; with probability omega, in training, the one without durations.

        In evaluation there is neither omega nor sigma.
        """
        config = self.config
        (e_BTJ, p_BUJ, weight_VJ, bias_V, y_BS), keywords = self.joiner_inputs(batch)
        lengths = batch.h_len_B, batch.y_len_B
        if self.training and float(torch.rand(())) < config.omega:
            loss_B, usable_B = full_joiner_loss(e_BTJ, p_BUJ, weight_VJ, bias_V, y_BS, *lengths, **keywords)
        else:
            loss_B, usable_B = tdt_joiner_loss(
                e_BTJ, p_BUJ, weight_VJ, bias_V, self.duration_output.weight, self.duration_output.bias, y_BS, *lengths,
                durations=tuple(config.durations), sigma=config.sigma if self.training else 0.0, **keywords,
            )  # fmt: skip
        total = loss_B.sum()
        return Loss(total, {"transducer": total}, usable_B)
