"""What all objectives share: their interface, what they are computed from, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from rnnt.model.masking import valid_mask
from rnnt.model.objectives import OBJECTIVES
from rnnt.model.trainable import Trainable

if TYPE_CHECKING:
    from rnnt.model.objectives.config import ObjectiveConfig
    from rnnt.model.transducer import Transducer


class Utterances(NamedTuple):
    """A batch as training has it. Lengths live on the CPU, which spares a synchronisation.

    x_BTF, x_len_B: padded features and their lengths; y_BS, y_len_B: padded tokens (any id as padding), their lengths.
    There may be features of several copies of the batch, one copy behind the other; the tokens are those of one.
    """

    x_BTF: Tensor
    x_len_B: Tensor
    y_BS: Tensor
    y_len_B: Tensor


class EncodedBatch:
    """What the network makes of a batch, and what it should say.

    Attributes:
        network: the `Transducer`.
        h_BTD, h_len_B: encoder output and its lengths, on the CPU.
        y_BS, y_len_B: tokens on the device of h, blank on padding, and their lengths on the CPU.
        copies: of the batch, which the tensors hold one behind the other.
    """

    def __init__(self, network: Transducer, utterances: Utterances) -> None:
        x_BTF, x_len_B, y_BS, y_len_B = utterances
        self.network = network
        self.h_BTD, _ = network.encode(x_BTF, x_len_B)
        self.h_len_B = network.encoded_lengths(x_len_B)
        y_BS = y_BS.to(self.h_BTD.device)
        self.copies = len(x_BTF) // len(y_BS) if len(y_BS) else 1
        if self.copies > 1:
            y_BS, y_len_B = y_BS.repeat(self.copies, 1), y_len_B.repeat(self.copies)
        is_token_BS = valid_mask(y_len_B.to(y_BS.device), y_BS.shape[1])
        self.y_BS, self.y_len_B = y_BS.masked_fill(~is_token_BS, network.blank_id), y_len_B

    @cached_property
    def g_BUD(self) -> Tensor:
        """Output of the predictor, computed when it is first asked for."""
        return self.network.predictor(self.y_BS)


@dataclass
class Loss:
    """The loss of a batch, summed over its utterances.

    Attributes:
        total: what is minimised, weighted.
        terms: its terms by name, not weighted, for the log.
        usable_B: False where no path exists: more tokens than the topology allows; None where that cannot be.
    """

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    usable_B: Tensor | None = None


class Objective(nn.Module):
    """A loss with the heads that only it uses, which are its submodules.

    A subclass defines `__init__(network, config)` and `forward(batch, step)`.

    Args:
        config: its options.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config

    def prepare(self, utterances: Utterances) -> Utterances:
        """What the network is to see of a batch: here as it is. Copies of it come behind it, in the same order."""
        return utterances

    def forward(self, batch: EncodedBatch, step: int) -> Loss:
        """The loss of a batch at update `step`."""
        raise NotImplementedError

    def describe(self) -> str:
        """What the log says of it in a few words."""
        return ""


class TrainingModel(Trainable):
    """A network with the objectives that train it: what the optimizer sees.

    The network is used without the objectives afterwards. Checkpoints keep the two apart.
    """

    network: Transducer

    def __init__(self, network: Transducer, configs: Sequence[ObjectiveConfig]) -> None:
        super().__init__()
        self.network = network
        self.objectives = nn.ModuleDict(
            {config.name: OBJECTIVES.implementation(config)(network, config) for config in configs}
        )

    def forward(self, utterances: Utterances, step: int) -> Loss:
        """The sum of the objectives at update `step`; of several copies of a batch, the mean over the copies."""
        num_utterances = len(utterances.y_BS)
        for objective in self.each_objective():
            utterances = objective.prepare(utterances)
        batch = EncodedBatch(self.network, utterances)
        losses: list[Loss] = [objective(batch, step) for objective in self.each_objective()]
        total, terms = losses[0].total, dict(losses[0].terms)
        for loss in losses[1:]:
            total = total + loss.total
            terms.update(loss.terms)
        copies = len(utterances.x_BTF) // num_utterances if num_utterances else 1
        if copies > 1:
            total, terms = total / copies, {name: term / copies for name, term in terms.items()}
        usable = [loss.usable_B[:num_utterances] for loss in losses if loss.usable_B is not None]
        return Loss(total, terms, torch.stack(usable).all(0) if usable else None)

    def searched(self) -> Transducer:
        """The network with the heads that a search can use; it shares all weights."""
        heads = {o.config.name: o for o in self.each_objective() if o.config.has_search_head}
        return self.network.with_heads(heads)

    def describe(self) -> str:
        """The names of the losses, with what each says of itself."""
        pairs = ((objective.config.name, objective.describe()) for objective in self.each_objective())
        return ", ".join(f"{name} ({text})" if text else name for name, text in pairs)

    def each_objective(self) -> list[Objective]:
        """The objectives, in the order of --loss."""
        return [cast(Objective, objective) for objective in self.objectives.values()]
