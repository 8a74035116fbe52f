"""Batched beam search with at most one symbol a frame.

Every hypothesis takes exactly one step a frame, blank or token, so a batch stays in step. Hypotheses with the same
tokens are merged by adding their probabilities. They live in tensors: a hash of the tokens tells equal ones, and
back-pointers, followed once at the end, give the tokens.
"""

import torch

from rnnt.search.context import adjust_logits, entropy_confidence
from rnnt.search.result import rank
from rnnt.search.trace import Trace

# Multiplier of the rolling 64-bit hash (odd, from the golden ratio); int64 arithmetic wraps.
HASH_FACTOR = -7046029254386353131


def token_hashes(vocab_size, device):
    """(V,) random int64, the same in every run: two different token sequences share a hash once in 2^64 pairs."""
    generator = torch.Generator().manual_seed(20240229)
    return torch.randint(-(2**63), 2**63 - 1, (vocab_size,), generator=generator).to(device)


def merge_equal(score_BK, hash_BK):
    """Log-add the scores of equal hypotheses.

    The first of them, which must have the best score, gets the sum, the others minus infinity.
    """
    same_BKK = hash_BK[:, :, None] == hash_BK[:, None, :]
    summed_BK = score_BK[:, None, :].where(same_BKK, -torch.inf).logsumexp(dim=2)
    first_BK = same_BKK.byte().argmax(dim=2) == torch.arange(score_BK.shape[1], device=score_BK.device)
    return summed_BK.where(first_BK, -torch.inf)


def modified_beam_search(stepper, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. No host synchronisation inside the loop on a GPU."""
    B, T, _ = h_BTD.shape
    model, device = stepper.model, h_BTD.device
    K, blank = config.beam_size, model.blank_id
    # Longest first: the utterances that still run are always the first n, and n is known without asking the device.
    length_B, order_B = h_len_B.cpu().sort(descending=True, stable=True)
    lengths = length_B.tolist()
    T = lengths[0] if lengths else 0
    e_BTJ = model.joiner.project_encoder(h_BTD[:, :T])[order_B.to(device)] if T else None

    trace = Trace(T, B, K, blank, device)
    final_BK = torch.full((B, K), -torch.inf, device=device)
    final_BK[:, 0] = 0.0
    n = sum(length > 0 for length in lengths)
    score_NK, hash_NK = final_BK[:n], torch.zeros(n, K, dtype=torch.int64, device=device)
    context = stepper.start(n * K, device)
    table_V = None

    for t in range(T):
        running = sum(length > t for length in lengths[:n])
        if running < n:
            final_BK[running:n] = _ended(stepper, score_NK[running:], context[running * K :])
            n, score_NK, hash_NK, context = running, score_NK[:running], hash_NK[:running], context[: running * K]

        logits_NKV = model.joiner.logits(e_BTJ[:n, t, None], context.p_NJ.view(n, K, -1))
        logp_NKV = adjust_logits(logits_NKV, config, blank).log_softmax(dim=2)
        V = logp_NKV.shape[2]
        total_NKV = logp_NKV + score_NK[:, :, None]
        if context.extra_NV is not None:
            total_NKV += context.extra_NV.view(n, K, V)
        score_NK, pick_NK = total_NKV.flatten(1).topk(K, dim=1)
        parent_NK, token_NK = pick_NK // V, pick_NK % V
        chosen_NK = logp_NKV.flatten(1).gather(1, pick_NK)
        if config.confidence == "entropy":
            sure_NK = entropy_confidence(logp_NKV).gather(1, parent_NK)
        else:
            sure_NK = chosen_NK.exp()
        trace.add(t, parent_NK, token_NK, chosen_NK, sure_NK)

        emits_NK = token_NK != blank
        if table_V is None:
            table_V = token_hashes(V, device)
        hash_NK = hash_NK.gather(1, parent_NK)
        hash_NK = torch.where(emits_NK, hash_NK * HASH_FACTOR + table_V[token_NK], hash_NK)
        score_NK = merge_equal(score_NK, hash_NK)
        emits_NK &= score_NK > -torch.inf  # those that were merged into another need no predictor
        row_NK = parent_NK + torch.arange(0, n * K, K, device=device)[:, None]
        context = stepper.advance(context[row_NK.flatten()], token_NK.flatten(), emits_NK.flatten())
    final_BK[:n] = _ended(stepper, score_NK, context)

    ranked = [rank(hypotheses, config) for hypotheses in trace.hypotheses(final_BK, lengths)]
    results = [None] * B
    for place, row in enumerate(order_B.tolist()):
        results[row] = ranked[place]
    return results


def _ended(stepper, score_NK, context):
    """Scores of hypotheses whose utterance is over."""
    final = stepper.final(context)
    return score_NK if final is None else score_NK + final.view_as(score_NK)
