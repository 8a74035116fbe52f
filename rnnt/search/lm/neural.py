"""Neural language models as scorers: shallow fusion.

log p(y | x) + s sum_u log p_LM(y_u | y_<u), over tokens and without the end of the text, as icefall's searches have it:
an utterance need not be a sentence. Each prefix is computed once: the scores of its next tokens are part of the state
that the search carries, and only hypotheses that emit a token go through the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.model.language.base import LanguageModel


class NeuralScorer:
    """See `rnnt.search.fusion.Scorer`. The state: log-probabilities (N, V) of the next token, and that of the network.

    Args:
        network: in evaluation mode, over the tokens of the recogniser.
    """

    def __init__(self, network: LanguageModel) -> None:
        self.network = network

    def initial_state(self, N: int, device: torch.device) -> tuple[Tensor, ...]:
        """The state behind the token that begins a text, N times; moves the network to the device."""
        self.network.to(device)
        first_1 = torch.full((1,), self.network.boundary_id, device=device)
        logp_1V, state = self.network.step(first_1, self.network.initial_state(1, device))
        return tuple(part.repeat(N, *[1] * (part.ndim - 1)) for part in (logp_1V, *state))

    def scores(self, state: tuple[Tensor, ...]) -> Tensor:
        return state[0]

    def step(self, token_N: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        logp_NV, after = self.network.step(token_N, state[1:])
        return (logp_NV, *after)

    def final(self, state: tuple[Tensor, ...]) -> Tensor:
        """Zeros: the end is not scored."""
        return state[0].new_zeros(len(state[0]))
