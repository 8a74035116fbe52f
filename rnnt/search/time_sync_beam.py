"""Batched, time-synchronous beam search with several tokens per frame.

Saon, Tueske & Audhkhasi, Alignment-length synchronous decoding for RNN transducer, ICASSP 2020, algorithm 1. On each
frame all hypotheses are closed by a blank, extended by their best tokens, closed and extended again, at most
`max_sym_per_frame` times or until no extension is better than the worst of the closed ones, which start the next frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnt.search.batched_beam import Beam, BeamSearch, run_frames
from rnnt.search.prefixes import merge_equal
from rnnt.search.stepper import Stepper

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.result import Hypothesis


def time_sync_beam_search(
    stepper: Stepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`. One host synchronisation per expansion (whether there is anything to expand)."""
    return run_frames(stepper, h_BTD, h_len_B, config, one_frame)


def one_frame(search: BeamSearch, e_NJ: Tensor, t: int, beam: Beam) -> Beam:
    """The beam after frame `t`, whose projected encoder output is `e_NJ`."""
    blank, K = search.stepper.blank_id, beam.score_NK.shape[1]
    logp_NKV = search.log_probs(beam, e_NJ)
    closed, open_ = close(beam, logp_NKV[:, :, blank]), beam
    for _ in range(search.config.max_sym_per_frame):
        total_NKV = search.total_scores(open_, logp_NKV)
        total_NKV[:, :, blank] = -torch.inf
        score_NK, step_NK = total_NKV.flatten(1).topk(K, dim=1)
        # Hypotheses below the worst closed one are dropped: log-probabilities only fall. The rule looks at one
        # utterance alone, so that the rest of the batch changes nothing.
        score_NK = score_NK.where(score_NK > closed.score_NK.amin(dim=1, keepdim=True), -torch.inf)
        if not bool((score_NK[:, 0] > -torch.inf).any()):
            break
        open_ = search.extend(open_, t, logp_NKV, score_NK, step_NK)
        logp_NKV = search.log_probs(open_, e_NJ)
        closed = merge_beams(closed, close(open_, logp_NKV[:, :, blank]))
    return closed


def close(beam: Beam, blank_NK: Tensor) -> Beam:
    """The beam after a blank with these log-probabilities."""
    return Beam(beam.score_NK + blank_NK, beam.hash_NK, beam.node_NK, beam.state)


def merge_beams(a: Beam, b: Beam) -> Beam:
    """The best K of two beams of K; equal hypotheses are added."""
    K = a.score_NK.shape[1]
    both = Beam(
        torch.cat((a.score_NK, b.score_NK), dim=1),
        torch.cat((a.hash_NK, b.hash_NK), dim=1),
        torch.cat((a.node_NK, b.node_NK), dim=1),
        a.state.interleave(b.state, K),
    )
    ordered = both.select(both.score_NK.argsort(dim=1, descending=True, stable=True))
    score_NX = merge_equal(ordered.score_NK, ordered.hash_NK)
    score_NK, slot_NK = score_NX.topk(K, dim=1)
    best = ordered.select(slot_NK)
    return Beam(score_NK, best.hash_NK, best.node_NK, best.state)
