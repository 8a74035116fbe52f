"""Batched greedy search that loops over tokens, not frames.

The predictor's output changes only when a token is emitted. So each utterance has its own frame pointer, and one
iteration scores several frames ahead of every pointer with the same predictor output and goes straight to the first
token ("label looping", Bataev et al., 2024, arXiv:2406.06220). Iterations number about as many as the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rnnt.search.result import Hypothesis
from rnnt.search.stepper import HypothesisState, Stepper, entropy_confidence

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig

# Frames scored in an iteration, over all utterances. Looking further ahead means fewer iterations but more joiner work
# thrown away behind a token; on a GPU that work is free until there is much of it.
ROWS_CPU = 64
ROWS_GPU = 1024
LONGEST_WINDOW = 8


def greedy_search(stepper: Stepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`.

    At most `max_sym_per_frame` tokens are emitted per frame, then the search moves on without a blank; at most
    `max_sym_per_utt` tokens per utterance (0: no limit), then its search ends. One host synchronisation per iteration
    (how many utterances still run).
    """
    rows = ROWS_GPU if h_BTD.device.type == "cuda" else ROWS_CPU
    return search_greedily(GreedySearch, stepper, h_BTD, h_len_B, config, (rows, 2, LONGEST_WINDOW))


def search_greedily(
    kind: type[GreedySearch],
    stepper: Stepper,
    h_BTD: Tensor,
    h_len_B: Tensor,
    config: SearchConfig,
    window: tuple[int, int, int],
) -> list[list[Hypothesis]]:
    """The loop of a greedy search.

    Args:
        kind: the parts of an iteration.
        stepper: as the other arguments that follow, see `rnnt.search.search`.
        h_BTD: encoder output.
        h_len_B: its lengths.
        config: of the search.
        window: frames looked at in an iteration over all utterances, at least per utterance, and at most per utterance.
    """
    e_BTJ = stepper.joiner.project_encoder(h_BTD) if h_BTD.shape[1] else h_BTD
    search = kind(stepper, config, window, e_BTJ.flatten(0, 1), e_BTJ.shape[1])
    score_B = torch.zeros(len(h_BTD), device=h_BTD.device)
    running = search.start(h_len_B)
    emissions = []
    while len(running):
        step = search.first_token(running, search.score_window(running))
        score_B.index_add_(0, running.row_N, step.score_N)
        emissions.append(step.emission(running))
        running = search.advance(running, step)
        running = search.drop_finished(running, score_B)
    return make_hypotheses(emissions, score_B)


@dataclass(frozen=True)
class Running:
    """The N utterances that are still searched, each with its own frame pointer."""

    row_N: Tensor  # in the batch
    length_N: Tensor  # in frames
    frame_N: Tensor  # the pointer: the frame to look at next
    count_N: Tensor  # tokens emitted on that frame so far
    budget_N: Tensor  # tokens that may still be emitted
    state: HypothesisState
    offset_W: Tensor  # 0, 1, 2 ...: the frames of the window, counted from the pointer

    def __len__(self) -> int:
        return len(self.row_N)

    def select(self, index_M: Tensor, offset_W: Tensor) -> Running:
        """The utterances at the given indices, which look at these frames."""
        return Running(
            self.row_N[index_M],
            self.length_N[index_M],
            self.frame_N[index_M],
            self.count_N[index_M],
            self.budget_N[index_M],
            self.state[index_M],
            offset_W,
        )


@dataclass(frozen=True)
class Window:
    """The W frames from each pointer on, scored with the same predictor output."""

    inside_NW: Tensor  # False behind the end of the utterance
    logits_NWV: Tensor
    total_NW: Tensor  # logsumexp of the logits
    token_NW: Tensor  # the best token, or blank, with what the fusion adds
    score_NW: Tensor  # its log-probability and what the fusion adds


@dataclass(frozen=True)
class Step:
    """What one iteration finds for each of N utterances: frames of blank and then, perhaps, a token."""

    blanks_N: Tensor  # frames before the token; W where there is none
    emits_N: Tensor  # whether there is a token
    token_N: Tensor  # the token where there is one
    score_N: Tensor  # what the blanks and the token add to the score
    logp_N: Tensor  # the model's log-probability of the token
    confidence_N: Tensor

    def emission(self, running: Running) -> tuple[Tensor, Tensor]:
        """(3, N) row in the batch, token or -1 where there is none, frame; (2, N) log-probability, confidence."""
        token_N = torch.where(self.emits_N, self.token_N, -1)
        ids_3N = torch.stack((running.row_N, token_N, running.frame_N + self.blanks_N))
        return ids_3N, torch.stack((self.logp_N, self.confidence_N))


@dataclass(frozen=True)
class GreedySearch:
    """What stays the same while a batch is searched, and the parts of an iteration."""

    stepper: Stepper
    config: SearchConfig
    window: tuple[int, int, int]  # see `search_greedily`
    e_FJ: Tensor  # projected encoder output, all frames of the first utterance, then those of the second ...
    T: int  # frames per utterance, padding counted

    def start(self, h_len_B: Tensor) -> Running:
        """All utterances that have frames, before their first token."""
        row_N = torch.nonzero(h_len_B > 0).flatten()
        zero_N = torch.zeros_like(row_N)
        budget = self.config.max_sym_per_utt or self.T * self.config.max_sym_per_frame
        budget_N = torch.full_like(row_N, budget)
        state = self.stepper.start(len(row_N), row_N.device)
        offset_W = self.window_offsets(len(row_N), row_N.device)
        return Running(row_N, h_len_B[row_N], zero_N, zero_N, budget_N, state, offset_W)

    def window_offsets(self, N: int, device: torch.device) -> Tensor:
        """(W,) 0, 1, 2 ...: the frames that each of N utterances looks at; the more utterances, the fewer frames."""
        rows, least, most = self.window
        return torch.arange(min(max(rows // max(N, 1), least), most), device=device)

    def score_window(self, running: Running) -> Window:
        """Score the frames from each pointer on."""
        e_NWJ, inside_NW = self.frames_ahead(running)
        return self.best_tokens(running, self.stepper.logits(e_NWJ, running.state.p_NJ[:, None]), inside_NW)

    def frames_ahead(self, running: Running) -> tuple[Tensor, Tensor]:
        """The projected encoder output of each window (N,W,J), and which of these frames there are."""
        frame_NW = running.frame_N[:, None] + running.offset_W
        e_NWJ = self.e_FJ[running.row_N[:, None] * self.T + frame_NW.clamp(max=self.T - 1)]
        return e_NWJ, frame_NW < running.length_N[:, None]

    def best_tokens(self, running: Running, logits_NWV: Tensor, inside_NW: Tensor) -> Window:
        """The best token or blank of each frame by its logits and what the fusion adds."""
        state = running.state
        fused_NWV = logits_NWV if state.fusion_NV is None else logits_NWV + state.fusion_NV[:, None]
        best_NW, token_NW = fused_NWV.max(dim=2)
        # logsumexp with a maximum that is already known takes half of the time.
        peak_NW = best_NW if state.fusion_NV is None else logits_NWV.amax(dim=2)
        total_NW = peak_NW + (logits_NWV - peak_NW[:, :, None]).exp_().sum(dim=2).log_()
        return Window(inside_NW, logits_NWV, total_NW, token_NW, best_NW - total_NW)

    def first_token(self, running: Running, window: Window) -> Step:
        """Find the first frame of each window on which a token is better than blank."""
        W = window.token_NW.shape[1]
        is_token_NW = (window.token_NW != self.stepper.blank_id) & window.inside_NW
        emits_N = is_token_NW.any(dim=1)
        first_N = is_token_NW.byte().argmax(dim=1)  # 0 where there is no token
        blanks_N = torch.where(emits_N, first_N, W)
        passed_NW = running.offset_W <= blanks_N[:, None]
        score_N = window.score_NW.where(window.inside_NW & passed_NW, 0.0).sum(dim=1)
        token_N, logp_N, confidence_N = self.token_at(window, first_N)
        return Step(blanks_N, emits_N, token_N, score_N, logp_N, confidence_N)

    def token_at(self, window: Window, first_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best token, or blank, at one place of each window; its log-probability and its confidence."""
        index_N = torch.arange(len(first_N), device=first_N.device)
        token_N = window.token_NW.gather(1, first_N[:, None]).squeeze(1)
        logp_N = window.logits_NWV[index_N, first_N, token_N] - window.total_NW[index_N, first_N]
        if self.config.confidence == "entropy":
            confidence_N = entropy_confidence(window.logits_NWV[index_N, first_N].log_softmax(dim=1))
        else:
            confidence_N = logp_N.exp()
        return token_N, logp_N, confidence_N

    def advance(self, running: Running, step: Step) -> Running:
        """Move the pointers past the blanks and, where a frame has all the tokens it may have, past that frame."""
        count_N = torch.where(step.blanks_N == 0, running.count_N, 0) + step.emits_N
        full_N = count_N >= self.config.max_sym_per_frame
        budget_N = running.budget_N - step.emits_N.long()
        frame_N = torch.where(budget_N > 0, running.frame_N + step.blanks_N + full_N, running.length_N)
        state = self.stepper.advance(running.state, step.token_N, step.emits_N)
        count_N = count_N.where(~full_N, 0)
        return replace(running, frame_N=frame_N, count_N=count_N, budget_N=budget_N, state=state)

    def drop_finished(self, running: Running, score_B: Tensor) -> Running:
        """Drop the utterances that have ended, once they are half of the work, and add their final scores.

        Dropping takes another host synchronisation.
        """
        runs_N = running.frame_N < running.length_N
        if 2 * int(runs_N.sum()) > len(running):
            return running
        final_N = self.stepper.final(running.state)
        if final_N is not None:
            score_B.index_add_(0, running.row_N, final_N.where(~runs_N, 0.0))
        kept_M = torch.nonzero(runs_N).flatten()
        return running.select(kept_M, self.window_offsets(len(kept_M), kept_M.device))


def make_hypotheses(emissions: list[tuple[Tensor, Tensor]], score_B: Tensor) -> list[list[Hypothesis]]:
    """Sort the tokens of all iterations, `Step.emission`, by utterance; one hypothesis per utterance.

    The ids may have a fourth row, the frames that each token lasts.
    """
    # (token, frame, log-probability, confidence, perhaps duration) of each token, per utterance
    emissions_of: list[list[tuple[Any, ...]]] = [[] for _ in range(len(score_B))]
    if emissions:
        ids, values = zip(*emissions)
        ids_RX, values_2X = torch.cat(ids, dim=1), torch.cat(values, dim=1)
        is_token_X = ids_RX[1] >= 0
        row_X, token_X, frame_X, *lasts = ids_RX[:, is_token_X].tolist()
        for row, *emission in zip(row_X, token_X, frame_X, *values_2X[:, is_token_X].tolist(), *lasts):
            emissions_of[row].append(tuple(emission))
    results = []
    for found, score in zip(emissions_of, score_B.tolist()):
        tokens, frames, token_scores, confidences, *lasts = zip(*found) if found else ((), (), (), ())
        results.append([Hypothesis(tokens, frames, token_scores, confidences, score, *lasts)])
    return results
