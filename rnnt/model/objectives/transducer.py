"""The transducer losses: the sum over the complete lattice, and k2's pruned one with the simple loss that prunes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from rnnt.errors import UserError
from rnnt.loss import full_joiner_loss, prune_ranges, pruned_joiner_loss, smoothed_loss
from rnnt.loss.backends import resolve
from rnnt.loss.k2.installed import import_k2
from rnnt.model.layers import Linear, init_scaled
from rnnt.model.objectives.base import EncodedBatch, Loss, Objective

if TYPE_CHECKING:
    from rnnt.model.objectives.config import FullConfig, JoinerLossConfig, PrunedConfig, TransducerLossConfig
    from rnnt.model.transducer import Transducer


def usable_backend(name: str) -> str:
    """The name of the loss backend, with auto resolved; `UserError` where it can't be used here."""
    backend = resolve(name)
    if backend == "k2":
        try:
            import_k2()
        except ValueError as error:
            raise UserError(f"--loss-backend k2: {error}; native gives the same numbers") from None
    return backend


class JoinerObjective(Objective):
    """What the losses of the joiner need of the network."""

    config: JoinerLossConfig

    def __init__(self, config: JoinerLossConfig) -> None:
        super().__init__(config)
        self.backend = usable_backend(config.loss_backend)

    def describe(self) -> str:
        """The backend."""
        return self.backend

    def _common(self, network: Transducer) -> dict[str, Any]:
        """Keywords of all losses of rnnt.loss."""
        return {
            "blank_id": network.blank_id,
            "delay_penalty": self.config.delay_penalty,
            "backend": self.backend,
        }

    def joiner_inputs(self, batch: EncodedBatch) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """The tensors that the joiner losses begin with, and their keywords."""
        joiner = batch.network.joiner
        e_BTJ, p_BUJ = joiner.project_encoder(batch.h_BTD), joiner.project_predictor(batch.g_BUD)
        keywords = {"activation": joiner.activation, "dropout": joiner.dropout if joiner.training else 0.0}
        tensors = (e_BTJ, p_BUJ, joiner.output.weight, joiner.output.bias, batch.y_BS)
        return tensors, {**keywords, **self._common(batch.network)}


class _TransducerObjective(JoinerObjective):
    """What both losses without durations need."""

    config: TransducerLossConfig

    def _common(self, network: Transducer) -> dict[str, Any]:
        return {"rnnt_type": self.config.rnnt_type, **super()._common(network)}


class FullObjective(_TransducerObjective):
    """-log p(y | x) over all alignments (Graves 2012, https://arxiv.org/abs/1211.3711)."""

    def __init__(self, network: Transducer, config: FullConfig) -> None:
        super().__init__(config)

    def forward(self, batch: EncodedBatch, step: int) -> Loss:
        """The loss of a batch."""
        tensors, keywords = self.joiner_inputs(batch)
        loss_B, usable_B = full_joiner_loss(*tensors, batch.h_len_B, batch.y_len_B, **keywords)
        total = loss_B.sum()
        return Loss(total, {"transducer": total}, usable_B)


class PrunedObjective(_TransducerObjective):
    """k2's pruned loss (Kuang et al. 2022, https://arxiv.org/abs/2206.13236).

    Two heads make a joiner that only adds, whose simple loss is cheap enough for the complete lattice. It trains first,
    and its occupations tell at which R nodes per frame the real joiner is worth computing.
    """

    config: PrunedConfig

    def __init__(self, network: Transducer, config: PrunedConfig) -> None:
        super().__init__(config)
        self.simple_am_proj = Linear(network.encoder.dim, network.vocab_size)
        self.simple_lm_proj = Linear(network.predictor.dim, network.vocab_size)
        init_scaled(self.simple_am_proj, config.proj_init_scale)
        init_scaled(self.simple_lm_proj, config.proj_init_scale)

    def forward(self, batch: EncodedBatch, step: int) -> Loss:
        """The weighted sum of the simple and the pruned loss of a batch."""
        config = self.config
        tensors, keywords = self.joiner_inputs(batch)
        lengths = batch.h_len_B, batch.y_len_B
        simple_B, px_grad, py_grad = smoothed_loss(
            self.simple_am_proj(batch.h_BTD),
            self.simple_lm_proj(batch.g_BUD),
            batch.y_BS,
            *lengths,
            lm_only_scale=config.lm_scale,
            am_only_scale=config.am_scale,
            **self._common(batch.network),
        )
        ranges_BTR = prune_ranges(px_grad, py_grad, *lengths, config.prune_range, config.rnnt_type)
        loss_B, usable_B = pruned_joiner_loss(*tensors, ranges_BTR, *lengths, **keywords)
        simple_scale, pruned_scale = config.scales(step)
        simple = simple_B.sum()
        total = simple_scale * simple + pruned_scale * loss_B.sum()
        return Loss(total, {"simple": simple, "transducer": loss_B.sum()}, usable_B)
