"""What the optimizer sees: a network with what only its training needs, such as the heads of losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Trainable(nn.Module):
    """A network in training. `forward(inputs, step)` is the `Loss` of a batch at update `step`.

    Attributes:
        network: what is used afterwards.
        objectives: what is not. Checkpoints keep the two apart.
        in_evaluation: modules that stay in evaluation mode in training: of parts that do not learn.
    """

    network: nn.Module
    objectives: nn.ModuleDict
    in_evaluation: tuple[nn.Module, ...] = ()

    def train(self, mode: bool = True) -> Self:
        """As of every module."""
        super().train(mode)
        for module in self.in_evaluation:
            module.training = False
        return self

    def searched(self) -> nn.Module:
        """The network with all that decoding needs; it shares all weights."""
        raise NotImplementedError

    def describe(self) -> str:
        """What is minimised, in a few words."""
        raise NotImplementedError
