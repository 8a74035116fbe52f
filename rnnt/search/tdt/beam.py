"""Batched beam search of a token-and-duration transducer: each hypothesis stands on a frame of its own.

An iteration takes, in each utterance, the hypotheses on the earliest frame where there are any, and extends them by
tokens and blanks with all durations; the best `beam_size` extensions join the hypotheses that wait on later frames.
Frames that no hypothesis reaches are never looked at, and each utterance of a batch is on a frame of its own.

Equal tokens on the same frame are one hypothesis, whose scores are added. A hypothesis is dropped when `beam_size`
others that are as far or further have a better score: scores only fall, so that it can't catch up. What waits further
ahead never displaces a hypothesis that is behind only because it has paid for less.

The durations are those of Xu et al. 2023, https://arxiv.org/abs/2304.06795; the order by frames and the rule for what
is dropped are those of time-synchronous search with several tokens per frame (Saon et al., ICASSP 2020).

Letters: M hypotheses that wait in an utterance; X these and the new ones; C tokens that are tried with all durations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from rnnt.search.prefixes import HASH_FACTOR, ROOT, PrefixTree, merge_equal, token_hashes
from rnnt.search.result import Hypothesis, rank
from rnnt.search.stepper import HypothesisState, entropy_confidence
from rnnt.search.tdt.stepper import DurationStepper

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig

FRAME_FACTOR = 0x5851F42D4C957F2D  # odd: tells equal tokens on different frames apart


class Columns(NamedTuple):
    """Hypotheses of N utterances, (N,M). Empty slots have the score minus infinity."""

    score: Tensor
    hash: Tensor  # of the tokens
    node: Tensor  # in the `PrefixTree`
    frame: Tensor  # where it stands; the length of the utterance when it has ended
    emitted: Tensor  # tokens emitted on that frame so far

    def gather(self, slot_NK: Tensor) -> Columns:
        """The hypotheses in the given slots of each utterance."""
        return Columns(*(column.gather(1, slot_NK) for column in self))


@dataclass(frozen=True)
class Waiting:
    """M hypotheses for each of N utterances, those in use first."""

    columns: Columns
    state: HypothesisState  # of N x M hypotheses

    def state_at(self, slot_NK: Tensor) -> HypothesisState:
        """The states of the hypotheses in the given slots of each utterance."""
        N, M = self.columns.score.shape
        return self.state[(slot_NK + torch.arange(0, N * M, M, device=slot_NK.device)[:, None]).flatten()]

    def rows(self, index_N: Tensor) -> Waiting:
        """The hypotheses of some utterances."""
        M = self.columns.score.shape[1]
        state_rows = index_N[:, None] * M + torch.arange(M, device=index_N.device)
        return Waiting(Columns(*(column[index_N] for column in self.columns)), self.state[state_rows.flatten()])


@dataclass(frozen=True)
class New:
    """K extensions for each of N utterances, best first."""

    columns: Columns
    token_NK: Tensor
    emits_NK: Tensor
    slot_NK: Tensor  # of the hypotheses that were extended


def tdt_beam_search(
    stepper: DurationStepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`.

    At most `max_sym_per_frame` tokens that last no frame are emitted on one, the last of them then moves on by one. One
    host synchronisation per iteration (how many utterances still run, and how many hypotheses wait).
    """
    B, T, _ = h_BTD.shape
    device, K = h_BTD.device, config.beam_size
    e_BTJ = stepper.joiner.project_encoder(h_BTD) if T else h_BTD
    search = _DurationBeamSearch(stepper, config, PrefixTree(), token_hashes(stepper.vocab_size, device), e_BTJ)
    final_BK = torch.full((B, K), -torch.inf, device=device)
    final_BK[:, 0] = 0.0
    node_BK = torch.full((B, K), ROOT, device=device)
    row_N = torch.nonzero(h_len_B > 0).flatten()
    waiting = search.start(len(row_N), device)
    while len(row_N):
        waiting, runs_N, running = search.iterate(waiting, row_N, h_len_B[row_N])
        if 2 * running > len(row_N):
            continue
        ended = waiting.rows(torch.nonzero(~runs_N).flatten())
        final = stepper.final(ended.state)
        score_NM, node_NM = ended.columns.score, ended.columns.node
        if final is not None:
            score_NM = score_NM + final.view_as(score_NM)
        first = min(K, score_NM.shape[1])  # at most K have ended
        final_BK[row_N[~runs_N], :first], node_BK[row_N[~runs_N], :first] = score_NM[:, :first], node_NM[:, :first]
        waiting, row_N = waiting.rows(torch.nonzero(runs_N).flatten()), row_N[runs_N]
    return [rank(hypotheses, config) for hypotheses in search.tree.hypotheses(node_BK, final_BK)]


@dataclass(frozen=True)
class _DurationBeamSearch:
    """What stays the same while a batch is searched, and an iteration."""

    stepper: DurationStepper
    config: SearchConfig
    tree: PrefixTree
    token_hash_V: Tensor
    e_BTJ: Tensor

    def start(self, N: int, device: torch.device) -> Waiting:
        """The empty hypothesis on the first frame, for each utterance."""
        zero_N1 = torch.zeros(N, 1, dtype=torch.int64, device=device)
        score_N1 = torch.zeros(N, 1, device=device)
        return Waiting(Columns(score_N1, zero_N1, zero_N1 + ROOT, zero_N1, zero_N1), self.stepper.start(N, device))

    def iterate(self, waiting: Waiting, row_N: Tensor, length_N: Tensor) -> tuple[Waiting, Tensor, int]:
        """Extend the earliest hypotheses; also returns which utterances then still run, and how many."""
        score_NM, frame_NM = waiting.columns.score, waiting.columns.frame
        in_use_NM = score_NM > -torch.inf
        earliest_N = frame_NM.where(in_use_NM, length_N[:, None]).amin(dim=1)
        open_NM = in_use_NM & (frame_NM == earliest_N[:, None]) & (earliest_N < length_N)[:, None]
        new = self.extend(waiting, open_NM, row_N, earliest_N, length_N)
        both = Columns(*(torch.cat(pair, dim=1) for pair in zip(waiting.columns, new.columns)))
        both.score[:, : open_NM.shape[1]].masked_fill_(open_NM, -torch.inf)
        score_NX, index_NX = prune(both, self.config.beam_size)
        in_use_NX = score_NX > -torch.inf
        runs_N = (in_use_NX & (both.frame.gather(1, index_NX) < length_N[:, None])).any(dim=1)
        running, most = torch.stack((runs_N.sum(), in_use_NX.sum(dim=1).amax())).tolist()
        columns = both.gather(index_NX[:, :most])._replace(score=score_NX[:, :most])
        return Waiting(columns, self.states(waiting, new, index_NX[:, :most], columns.score)), runs_N, running

    def extend(self, waiting: Waiting, open_NM: Tensor, row_N: Tensor, frame_N: Tensor, length_N: Tensor) -> New:
        """The best K extensions of the open hypotheses, which stand on `frame_N`."""
        N, K = len(open_NM), self.config.beam_size
        blank, stepper = self.stepper.blank_id, self.stepper
        # The open ones first; there are at most K.
        slot_NK = (~open_NM).byte().argsort(dim=1, stable=True)[:, :K]
        P = slot_NK.shape[1]
        state, old = waiting.state_at(slot_NK), waiting.columns.gather(slot_NK)
        score_NK = old.score.where(open_NM.gather(1, slot_NK), -torch.inf)
        e_NJ = self.e_BTJ[row_N, frame_N.clamp(max=self.e_BTJ.shape[1] - 1)]
        logits_NKV, duration_logits_NKD = stepper.both_logits(e_NJ[:, None], state.p_NJ.view(N, P, -1))
        logp_NKV, logq_NKD = logits_NKV.log_softmax(dim=2), duration_logits_NKD.log_softmax(dim=2)
        total_NKV = logp_NKV + score_NK[:, :, None]
        if state.fusion_NV is not None:
            total_NKV = total_NKV + state.fusion_NV.view_as(total_NKV)
        # One more than K tokens: a blank can't last no frame, whatever it is worth.
        best_NKC, token_NKC = total_NKV.topk(min(K + 1, total_NKV.shape[2]), dim=2)
        frames_D = stepper.frames(e_NJ.device)
        impossible = (token_NKC == blank)[..., None] & (frames_D == 0)
        step_NKCD = (best_NKC[..., None] + logq_NKD[:, :, None]).masked_fill(impossible, -torch.inf)
        _, _, C, D = step_NKCD.shape
        new_score_NK, step_NK = step_NKCD.flatten(1).topk(min(K, P * C * D), dim=1)
        parent_NK, lasts_NK = step_NK // (C * D), frames_D[step_NK % D]
        token_NK = token_NKC.flatten(1).gather(1, step_NK // D)
        emits_NK = token_NK != blank
        chosen_NK = logp_NKV.flatten(1).gather(1, parent_NK * logp_NKV.shape[2] + token_NK)
        if self.config.confidence == "entropy":
            confidence_NK = entropy_confidence(logp_NKV).gather(1, parent_NK)
        else:
            confidence_NK = chosen_NK.exp()
        parent, frame_NK = old.gather(parent_NK), frame_N[:, None].expand_as(token_NK)
        node_NK = self.tree.add(frame_NK, parent.node, token_NK, chosen_NK, confidence_NK, lasts_NK)
        emitted_NK = parent.emitted + 1
        full_NK = (lasts_NK == 0) & (emitted_NK >= self.config.max_sym_per_frame)
        columns = Columns(
            new_score_NK,
            (parent.hash * HASH_FACTOR + self.token_hash_V[token_NK]).where(emits_NK, parent.hash),
            node_NK.where(emits_NK, parent.node),
            (frame_NK + lasts_NK + full_NK).minimum(length_N[:, None]),
            emitted_NK.where((lasts_NK == 0) & ~full_NK, 0),
        )
        return New(columns, token_NK, emits_NK, slot_NK.gather(1, parent_NK))

    def states(self, waiting: Waiting, new: New, index_NM: Tensor, score_NM: Tensor) -> HypothesisState:
        """The states of the hypotheses at `index_NM` among those that waited and the new ones."""
        M = waiting.columns.score.shape[1]
        old_NM = torch.arange(M, device=index_NM.device).expand(len(index_NM), M)
        no_NM = torch.zeros_like(old_NM)
        slot_NM, token_NM, emits_NM = (
            torch.cat(pair, dim=1).gather(1, index_NM)
            for pair in ((old_NM, new.slot_NK), (no_NM, new.token_NK), (no_NM.bool(), new.emits_NK))
        )
        emits_NM = emits_NM & (score_NM > -torch.inf)
        return self.stepper.advance(waiting.state_at(slot_NM), token_NM.flatten(), emits_NM.flatten())


def prune(both: Columns, beam_size: int) -> tuple[Tensor, Tensor]:
    """Add equal hypotheses, and drop what `beam_size` others that are as far or further are better than.

    Returns:
        score_NX, minus infinity where a hypothesis was dropped; its slot_NX in `both`. Those that stay come first.
    """
    order_NX = both.score.argsort(dim=1, descending=True, stable=True)
    score_NX, hash_NX, _, frame_NX, _ = both.gather(order_NX)
    score_NX = merge_equal(score_NX, hash_NX + frame_NX * FRAME_FACTOR)
    better_NXX = score_NX[:, None, :] > score_NX[:, :, None]
    better_NXX |= (score_NX[:, None, :] == score_NX[:, :, None]).tril(diagonal=-1)
    as_far_NXX = frame_NX[:, None, :] >= frame_NX[:, :, None]
    stays_NX = ((better_NXX & as_far_NXX).sum(dim=2) < beam_size) & (score_NX > -torch.inf)
    first_NX = (~stays_NX).byte().argsort(dim=1, stable=True)
    return score_NX.where(stays_NX, -torch.inf).gather(1, first_NX), order_NX.gather(1, first_NX)
