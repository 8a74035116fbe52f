"""Batched beam search with at most one symbol a frame.

Every hypothesis takes exactly one step a frame, blank or token, so a batch stays in step. Hypotheses with the same
tokens are merged by adding their probabilities, after the best steps were taken, as in icefall.
"""

from rnnt.search.beams import search_batch
from rnnt.search.context import adjust_logits


def modified_beam_search(stepper, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. No host synchronisation inside the loop on a GPU."""
    return search_batch(stepper, h_BTD, h_len_B, config, _one_frame)


def _one_frame(run, e_NJ, t, beam):
    N, K = beam.score_NK.shape
    logits_NKV = run.stepper.joiner.logits(e_NJ[:, None], beam.context.p_NJ.view(N, K, -1))
    logp_NKV = adjust_logits(logits_NKV, run.config, run.stepper.blank_id).log_softmax(dim=2)
    total_NKV = logp_NKV + beam.score_NK[:, :, None]
    if beam.context.extra_NV is not None:
        total_NKV += beam.context.extra_NV.view_as(total_NKV)
    score_NK, pick_NK = total_NKV.flatten(1).topk(K, dim=1)
    return run.grow(beam, t, logp_NKV, score_NK, pick_NK)
