"""Batched greedy search of a token-and-duration transducer.

As `rnnt.search.greedy` it loops over tokens, each utterance with its own frame pointer, and scores a window of frames
with the same predictor output. From the pointer on, blanks are followed through the window by as many frames as they
last, until one leads to a token or out of it; after a token the pointer moves by as many frames as that lasts.

Sources: Xu et al. 2023, https://arxiv.org/abs/2304.06795 (section 5); Bataev et al. 2024, arXiv:2406.06220.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from rnnt.search.greedy import (
    LONGEST_WINDOW,
    ROWS_CPU,
    ROWS_GPU,
    GreedySearch,
    Running,
    Step,
    Window,
    search_greedily,
)
from rnnt.search.result import Hypothesis
from rnnt.search.tdt.stepper import DurationStepper

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig


def tdt_greedy_search(
    stepper: DurationStepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`.

    The best token or blank, then its best duration, which for a blank is at least a frame. At most `max_sym_per_frame`
    tokens are emitted on a frame, then the search moves on by one; `max_sym_per_utt` as in `greedy_search`.
    """
    rows = ROWS_GPU if h_BTD.device.type == "cuda" else ROWS_CPU
    return search_greedily(DurationGreedySearch, stepper, h_BTD, h_len_B, config, (rows, 1, LONGEST_WINDOW))


@dataclass(frozen=True)
class DurationWindow(Window):
    """The W frames from each pointer on."""

    lasts_NW: Tensor  # frames that the best token or blank lasts


@dataclass(frozen=True)
class DurationStep(Step):
    """What one iteration finds: blanks and then, perhaps, a token. `blanks_N` are the frames that the blanks last."""

    lasts_N: Tensor  # frames that the token lasts

    def emission(self, running: Running) -> tuple[Tensor, Tensor]:
        """As `Step.emission`, with a fourth row: the frames that the token lasts."""
        token_N = torch.where(self.emits_N, self.token_N, -1)
        ids_4N = torch.stack((running.row_N, token_N, running.frame_N + self.blanks_N, self.lasts_N))
        return ids_4N, torch.stack((self.logp_N, self.confidence_N))


@dataclass(frozen=True)
class DurationGreedySearch(GreedySearch):
    """The parts of an iteration that differ by the durations."""

    stepper: DurationStepper

    def score_window(self, running: Running) -> DurationWindow:
        """Score the frames from each pointer on."""
        e_NWJ, inside_NW = self.frames_ahead(running)
        logits_NWV, duration_logits_NWD = self.stepper.both_logits(e_NWJ, running.state.p_NJ[:, None])
        window = self.best_tokens(running, logits_NWV, inside_NW)
        lasts_NW, score_NW = self.stepper.best_durations(duration_logits_NWD, window.token_NW == self.stepper.blank_id)
        parts = vars(window) | {"score_NW": window.score_NW + score_NW}
        return DurationWindow(**parts, lasts_NW=lasts_NW)

    def first_token(self, running: Running, window: Window) -> DurationStep:
        """Follow the blanks from each pointer to the first token, or out of the window."""
        assert isinstance(window, DurationWindow)
        N, W = window.token_NW.shape
        is_blank_NW = (window.token_NW == self.stepper.blank_id) & window.inside_NW
        # Where one jump leads, and its score; a place that is no blank leads to itself. Then two jumps, then four.
        to_NX = running.offset_W + window.lasts_NW.where(is_blank_NW, 0)
        score_NX = window.score_NW.where(is_blank_NW, 0.0)
        if W > 1:  # also the places behind the window to which a blank may lead
            behind = torch.arange(W, W + self.stepper.longest, device=to_NX.device)
            to_NX = torch.cat((to_NX, behind.expand(N, -1)), dim=1)
            score_NX = torch.nn.functional.pad(score_NX, (0, len(behind)))
        jumps = 1
        while jumps < W:
            score_NX = score_NX + score_NX.gather(1, to_NX)
            to_NX = to_NX.gather(1, to_NX)
            jumps *= 2
        blanks_N = to_NX[:, 0]
        at_N1 = blanks_N.clamp(max=W - 1)[:, None]
        inside_N = window.inside_NW.gather(1, at_N1)[:, 0]
        emits_N = (blanks_N < W) & inside_N
        found = self.token_at(window, at_N1[:, 0])
        score_N = score_NX[:, 0] + window.score_NW.gather(1, at_N1)[:, 0].where(emits_N, 0.0)
        return DurationStep(blanks_N, emits_N, found[0], score_N, *found[1:], window.lasts_NW.gather(1, at_N1)[:, 0])

    def advance(self, running: Running, step: Step) -> Running:
        """Move the pointers past the blanks and the token; past the frame where it has all the tokens it may have."""
        assert isinstance(step, DurationStep)
        stays_N = step.emits_N & (step.lasts_N == 0)
        count_N = torch.where(step.blanks_N == 0, running.count_N, 0) + 1
        full_N = stays_N & (count_N >= self.config.max_sym_per_frame)
        budget_N = running.budget_N - step.emits_N.long()
        moved_N = step.blanks_N + step.lasts_N.where(step.emits_N, 0) + full_N
        frame_N = torch.where(budget_N > 0, running.frame_N + moved_N, running.length_N)
        state = self.stepper.advance(running.state, step.token_N, step.emits_N)
        count_N = count_N.where(stays_N & ~full_N, 0)
        return replace(running, frame_N=frame_N, count_N=count_N, budget_N=budget_N, state=state)
