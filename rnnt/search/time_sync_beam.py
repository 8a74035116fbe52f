"""Batched, time-synchronous beam search with several symbols a frame.

Saon, Tueske & Audhkhasi, Alignment-length synchronous decoding for RNN transducer, ICASSP 2020, algorithm 1. On each
frame all hypotheses are closed by a blank, extended by their best tokens, closed and extended again, at most
`max_sym_per_frame` times or until no extension is better than the worst of the closed ones, which start the next frame.
"""

import torch

from rnnt.search.beams import Beam, search_batch
from rnnt.search.context import adjust_logits
from rnnt.search.prefixes import merge_equal


def time_sync_beam_search(stepper, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. One host synchronisation an expansion (whether there is anything to expand)."""
    return search_batch(stepper, h_BTD, h_len_B, config, _one_frame)


def _one_frame(run, e_NJ, t, beam):
    blank = run.stepper.blank_id
    N, K = beam.score_NK.shape
    closed, open_ = None, beam
    for symbols in range(run.config.max_sym_per_frame + 1):
        logits_NKV = run.stepper.joiner.logits(e_NJ[:, None], open_.context.p_NJ.view(N, K, -1))
        logp_NKV = adjust_logits(logits_NKV, run.config, blank).log_softmax(dim=2)
        ended = Beam(open_.score_NK + logp_NKV[:, :, blank], open_.hash_NK, open_.node_NK, open_.context)
        closed = ended if closed is None else merge_beams(closed, ended)
        if symbols == run.config.max_sym_per_frame:
            break
        total_NKV = logp_NKV + open_.score_NK[:, :, None]
        if open_.context.extra_NV is not None:
            total_NKV += open_.context.extra_NV.view_as(total_NKV)
        total_NKV[:, :, blank] = -torch.inf
        score_NK, pick_NK = total_NKV.flatten(1).topk(K, dim=1)
        # Hypotheses below the worst closed one are given up: log-probabilities only fall. The rule looks at one
        # utterance alone, so that its company changes nothing.
        score_NK = score_NK.where(score_NK > closed.score_NK.amin(dim=1, keepdim=True), -torch.inf)
        if not bool((score_NK[:, 0] > -torch.inf).any()):
            break
        open_ = run.grow(open_, t, logp_NKV, score_NK, pick_NK)
    return closed


def merge_beams(a, b):
    """The best K of two beams of K; equal hypotheses are added."""
    N, K = a.score_NK.shape
    both = Beam(
        torch.cat((a.score_NK, b.score_NK), dim=1),
        torch.cat((a.hash_NK, b.hash_NK), dim=1),
        torch.cat((a.node_NK, b.node_NK), dim=1),
        a.context.interleave(b.context, K),
    )
    ordered = both.select(both.score_NK.argsort(dim=1, descending=True, stable=True))
    score_NX = merge_equal(ordered.score_NK, ordered.hash_NK)
    score_NK, slot_NK = score_NX.topk(K, dim=1)
    best = ordered.select(slot_NK)
    return Beam(score_NK, best.hash_NK, best.node_NK, best.context)
