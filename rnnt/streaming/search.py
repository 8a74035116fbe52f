"""Searches that go on where they were: encoder output comes chunk by chunk, for streams at different places.

The searches are those of `rnnt.search`, frame by frame the same, so that chunks of any sizes give what the whole gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rnnt.errors import UserError
from rnnt.search import modified_beam, time_sync_beam
from rnnt.search.batched_beam import Beam, BeamSearch, FrameStep
from rnnt.search.config import METHODS as SEARCHES
from rnnt.search.fusion import make_fusion
from rnnt.search.greedy import LONGEST_WINDOW, ROWS_CPU, ROWS_GPU, GreedySearch, Running, make_hypotheses
from rnnt.search.needs import check_method, has_needs
from rnnt.search.prefixes import ROOT, PrefixTree, token_hashes
from rnnt.search.result import NOTHING, Hypothesis, rank
from rnnt.search.stepper import HypothesisState, Stepper
from rnnt.streaming.ctc import StreamingPaths

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.stepper import TransducerLike

FRAME_STEPS: dict[str, FrameStep] = {
    "modified_beam_search": modified_beam.one_frame,
    "time_sync_beam_search": time_sync_beam.one_frame,
}
CTC_METHOD = "ctc_greedy_search"
METHODS = ("greedy_search", *FRAME_STEPS)


@dataclass(frozen=True)
class SearchState:
    """A stream in the middle of its search.

    Attributes:
        frames: encoder frames searched so far.
        score_K: of its K hypotheses, of which greedy search has one; minus infinity where there is none.
        hash_K: of their tokens.
        state: of the predictor and what else scores tokens.
        found: their tokens so far.
    """

    frames: int
    score_K: Tensor
    hash_K: Tensor
    state: HypothesisState
    found: tuple[Hypothesis, ...]


class StreamingSearch:
    """A search whose states the caller keeps, one for each stream.

    Args:
        model: a transducer in evaluation mode.
        config: which search, and how.
        scorers: pairs of scorer and weight, see `rnnt.search.fusion`.

    Raises:
        UserError: the search can't go on chunk by chunk, or the model has not what it needs.
    """

    def __init__(
        self, model: TransducerLike, config: SearchConfig, scorers: Iterable[tuple[Scorer, float]] = ()
    ) -> None:
        check_method(model, config)
        if config.decoding_method not in METHODS:
            raise UserError(
                f"--decoding-method {config.decoding_method} needs the whole utterance; for streaming choose "
                + " or ".join(name for name in (*METHODS, CTC_METHOD) if has_needs(model, SEARCHES[name].head))
            )
        self.config = config
        fusion = make_fusion(scorers, config, model.vocab_size, model.blank_id)
        self.stepper = Stepper(model, model.joiner, config, fusion)
        self.size = 1 if config.decoding_method == "greedy_search" else config.beam_size

    def start(self, device: torch.device) -> SearchState:
        """The state of a stream before its first frame."""
        score_K = torch.full((self.size,), -torch.inf, device=device)
        score_K[0] = 0.0
        with torch.inference_mode():
            state = self.stepper.start(self.size, device)
        return SearchState(0, score_K, torch.zeros_like(score_K, dtype=torch.int64), state, (NOTHING,) * self.size)

    @torch.inference_mode()
    def advance(self, states: Sequence[SearchState], h_BTD: Tensor, h_len_B: Tensor) -> list[SearchState]:
        """The states after the next encoder frames of each stream, (B, T, D), of which `h_len_B` are there."""
        if not states:
            return []
        beams = [s.state for s in states]
        state = beams[0].join(beams[1:])
        e_BTJ = self.stepper.joiner.project_encoder(h_BTD) if h_BTD.shape[1] else h_BTD
        if self.config.decoding_method == "greedy_search":
            return self._greedy(states, state, e_BTJ, h_len_B.to(h_BTD.device))
        return self._beams(states, state, e_BTJ, h_len_B.tolist())

    def _greedy(
        self, states: Sequence[SearchState], state: HypothesisState, e_BTJ: Tensor, h_len_B: Tensor
    ) -> list[SearchState]:
        B, T, _ = e_BTJ.shape
        device = e_BTJ.device
        window = (ROWS_GPU if device.type == "cuda" else ROWS_CPU, 2, LONGEST_WINDOW)
        search = GreedySearch(self.stepper, self.config, window, e_BTJ.flatten(0, 1), T)
        zero_B = torch.zeros(B, dtype=torch.int64, device=device)
        most = self.config.max_sym_per_utt
        budget = [most - len(s.found[0].tokens) if most else T * self.config.max_sym_per_frame + 1 for s in states]
        budget_B = torch.tensor(budget, device=device)
        frame_B = zero_B.where(budget_B > 0, h_len_B)
        rows_B = torch.arange(B, device=device)
        running = Running(rows_B, h_len_B, frame_B, zero_B, budget_B, state, search.window_offsets(B, device))
        score_B = torch.stack([s.score_K[0] for s in states])
        emissions = []
        # Streams that are at the end of their chunk stay: their states are wanted.
        while bool((running.frame_N < running.length_N).any()):
            step = search.first_token(running, search.score_window(running))
            score_B = score_B + step.score_N
            emissions.append(step.emission(running))
            running = search.advance(running, step)
        new = [hypotheses[0] for hypotheses in make_hypotheses(emissions, score_B)]
        return [
            SearchState(
                before.frames + length,
                score_B[i : i + 1],
                before.hash_K,
                running.state[i : i + 1],
                (before.found[0].followed_by(hypothesis, before.frames),),
            )
            for i, (before, hypothesis, length) in enumerate(zip(states, new, h_len_B.tolist()))
        ]

    def _beams(
        self, states: Sequence[SearchState], state: HypothesisState, e_BTJ: Tensor, lengths: list[int]
    ) -> list[SearchState]:
        device, K = e_BTJ.device, self.size
        one_frame = FRAME_STEPS[self.config.decoding_method]
        tree = PrefixTree()
        search = BeamSearch(self.stepper, self.config, tree, token_hashes(self.stepper.vocab_size, device))
        # Longest first, so that the streams which still run are always the first ones.
        order = sorted(range(len(states)), key=lambda i: -lengths[i])
        rows = torch.tensor([i * K + k for i in order for k in range(K)], device=device)
        slot_NK = torch.arange(len(order) * K, device=device).view(-1, K)
        # Each hypothesis begins at a node of its own, whose "token" says which one it was.
        nothing_NK = torch.zeros(slot_NK.shape, device=device)
        node_NK = tree.add(-1, torch.full_like(slot_NK, ROOT), slot_NK, nothing_NK, nothing_NK)
        beam = Beam(
            torch.stack([states[i].score_K for i in order]),
            torch.stack([states[i].hash_K for i in order]),
            node_NK,
            state[rows],
        )
        ended: list[Beam] = []  # of streams, the last one first
        n = len(order)
        for t in range(lengths[order[0]] + 1):
            while n and lengths[order[n - 1]] <= t:
                ended.append(beam.row(n - 1))
                n -= 1
                beam = beam.head(n)
            if n:
                beam = one_frame(search, e_BTJ[torch.tensor(order[:n], device=device), t], t, beam)
        last = ended[::-1]
        scores = torch.cat([b.score_NK for b in last])
        new = tree.hypotheses(torch.cat([b.node_NK for b in last]), scores)
        after: list[SearchState | None] = [None] * len(order)
        for i, row, hypotheses, row_scores in zip(order, last, new, scores.tolist()):
            before, extended = states[i], iter(hypotheses)
            found = []
            for score in row_scores:
                part = next(extended) if score > -float("inf") else None
                if part is None:
                    found.append(NOTHING)
                    continue
                slot = part.tokens[0] % K
                found.append(before.found[slot].followed_by(part.part(1, len(part.tokens)), before.frames))
            after[i] = SearchState(before.frames + lengths[i], row.score_NK[0], row.hash_NK[0], row.state, tuple(found))
        return [s for s in after if s is not None]

    @torch.inference_mode()
    def hypotheses(self, state: SearchState, is_final: bool = False) -> list[Hypothesis]:
        """The hypotheses of a stream so far, best first; with `is_final` as those of an utterance that ends here."""
        score_K = state.score_K
        final_K = self.stepper.final(state.state) if is_final and state.frames else None
        if final_K is not None:
            score_K = score_K + final_K
        scored = [(score, h) for score, h in zip(score_K.tolist(), state.found) if score > -float("inf")]
        return rank([replace(h, score=score) for score, h in scored], self.config)

    def num_stable(self, state: SearchState) -> int:
        """Tokens with which all hypotheses of a stream begin: they can't change any more."""
        alive = [h.tokens for score, h in zip(state.score_K.tolist(), state.found) if score > -float("inf")]
        shortest = min(map(len, alive))
        first = alive[0]
        return next((i for i in range(shortest) if any(t[i] != first[i] for t in alive)), shortest)


def make_search(
    model: Any, config: SearchConfig, scorers: Iterable[tuple[Scorer, float]] = ()
) -> StreamingSearch | StreamingPaths:
    """The search of `config` for streams; the arguments are those of `StreamingSearch`.

    Raises:
        UserError: the search can't go on chunk by chunk, or the model has not what it needs.
    """
    return (StreamingPaths if config.decoding_method == CTC_METHOD else StreamingSearch)(model, config, scorers)
