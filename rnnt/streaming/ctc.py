"""Greedy search over a CTC layer that goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rnnt.search.ctc.frames import FrameScores
from rnnt.search.ctc.greedy import best_paths
from rnnt.search.fusion import make_fusion
from rnnt.search.needs import check_method, heads_of
from rnnt.search.result import NOTHING, Hypothesis

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer


@dataclass(frozen=True)
class PathState:
    """A stream in the middle of its best path.

    Attributes:
        frames: encoder frames searched so far.
        last: symbol of the last of them, a token of which may go on.
        found: the tokens so far, one hypothesis.
    """

    frames: int
    last: int
    found: tuple[Hypothesis, ...]


class StreamingPaths:
    """As `StreamingSearch`, by `ctc_greedy_search`.

    Args:
        model: with a CTC layer, in evaluation mode.
        config: of the search.
        scorers: as there; `UserError` where there are any.

    Raises:
        UserError: the model has no CTC layer, or the search is asked to weigh language models.
    """

    def __init__(self, model: Any, config: SearchConfig, scorers: Iterable[tuple[Scorer, float]] = ()) -> None:
        check_method(model, config)
        fusion = make_fusion(scorers, config, model.vocab_size, model.blank_id)
        self.scores = FrameScores(heads_of(model)[config.head], config, model.blank_id, model.vocab_size, fusion)
        self.scores.without_fusion()

    def start(self, device: torch.device) -> PathState:
        """The state of a stream before its first frame. device: as `StreamingSearch` wants it."""
        return PathState(0, self.scores.blank_id, (NOTHING,))

    @torch.inference_mode()
    def advance(self, states: Sequence[PathState], h_BTD: Tensor, h_len_B: Tensor) -> list[PathState]:
        """The states after the next encoder frames of each stream, (B, T, D), of which `h_len_B` are there."""
        if not states or not h_BTD.shape[1]:
            return list(states)
        last_B = torch.tensor([state.last for state in states], device=h_BTD.device)
        found, last_B = best_paths(self.scores, h_BTD, h_len_B.to(h_BTD.device), last_B)
        return [
            PathState(before.frames + length, last, (before.found[0].followed_by(new[0], before.frames),))
            for before, new, length, last in zip(states, found, h_len_B.tolist(), last_B.tolist())
        ]

    def hypotheses(self, state: PathState, is_final: bool = False) -> list[Hypothesis]:
        """The hypothesis of a stream so far, whether or not it ends here."""
        return list(state.found)

    def num_stable(self, state: PathState) -> int:
        """All of its tokens: none can change any more."""
        return len(state.found[0].tokens)
