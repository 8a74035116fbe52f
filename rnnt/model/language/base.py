"""What all language models share: log p(y) = sum_u log p(y_u | y_<u) over the tokens of a text and its end.

The same token, `boundary_id`, stands before the first token and behind the last one, as icefall's <sos/eos> does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.language import LANGUAGE_MODELS

if TYPE_CHECKING:
    from rnnt.model.language.config import LanguageModelConfig, NetworkConfig

State = tuple[Tensor, ...]


class LanguageModel(nn.Module):
    """A subclass defines `hidden`, `initial_state`, `step_hidden` and the layer `output`.

    A state is a tuple of tensors with the hypotheses first, so that a search selects and repeats hypotheses by
    indexing. All tensors keep their shapes from step to step.

    Args:
        config: its options.
        vocab_size: V, blank included.
        boundary_id: see the module.
    """

    output: nn.Linear

    def __init__(self, config: NetworkConfig, vocab_size: int, boundary_id: int) -> None:
        super().__init__()
        self.config, self.vocab_size, self.boundary_id = config, vocab_size, boundary_id

    def hidden(self, x_BU: Tensor) -> Tensor:
        """Tokens (B, U), the first one `boundary_id` -> (B, U, D) for the token behind each."""
        raise NotImplementedError

    def initial_state(self, N: int, device: torch.device | None = None) -> State:
        """The state before the first token, which is `boundary_id`, has been read."""
        raise NotImplementedError

    def step_hidden(self, token_N: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token for each of N hypotheses -> (N, D) for the next token, and the new state."""
        raise NotImplementedError

    def forward(self, y_BS: Tensor) -> Tensor:
        """Tokens (B, S) -> logits (B, S + 1, V): row u is for the token after the first u."""
        return self.output(self.hidden(F.pad(y_BS, (1, 0), value=self.boundary_id)))

    def step(self, token_N: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token for each of N hypotheses -> log-probabilities (N, V) of the next one, and the new state."""
        h_ND, state = self.step_hidden(token_N, state)
        return self.output(h_ND).float().log_softmax(dim=-1), state

    def token_scores(self, y_BS: Tensor, y_len_B: Tensor) -> Tensor:
        """(B, S + 1): the log-probability of each token and, behind the last one, of the end; 0 on padding."""
        B, S = y_BS.shape
        place_1U = torch.arange(S + 1, device=y_BS.device)[None]
        length_B1 = y_len_B.to(y_BS.device)[:, None]
        target_BU = F.pad(y_BS, (0, 1)).where(place_1U < length_B1, self.boundary_id)
        logits_BUV = self(y_BS).float()
        nll_BU = F.cross_entropy(logits_BUV.flatten(0, 1), target_BU.flatten(), reduction="none").view(B, S + 1)
        return (-nll_BU).where(place_1U <= length_B1, 0.0)


def make_language_model(config: LanguageModelConfig) -> LanguageModel:
    """A language model with first weights; `config` names all sizes."""
    model: LanguageModel = LANGUAGE_MODELS.implementation(config.model)(
        config.model, config.vocab_size, config.boundary_id or 0
    )
    return model
