"""Batched beam search with at most one symbol a frame.

Every hypothesis takes exactly one step a frame, blank or token, so a batch stays in step. Hypotheses with the same
tokens are merged by adding their probabilities. They live in tensors: a hash of the tokens tells equal ones, and
back-pointers, followed once at the end, give the tokens.
"""

import torch

from rnnt.search.result import Hypothesis, rank
from rnnt.search.states import advance, select, start

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


def modified_beam_search(model, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. No host synchronisation inside the loop on a GPU."""
    B, T, _ = h_BTD.shape
    K, blank, device = config.beam_size, model.blank_id, h_BTD.device
    # Longest first: the utterances that still run are always the first n, and n is known without asking the device.
    length_B, order_B = h_len_B.cpu().sort(descending=True, stable=True)
    lengths = length_B.tolist()
    e_BTJ = model.joiner.project_encoder(h_BTD)[order_B.to(device)] if T else h_BTD

    parent_TBK = torch.arange(K, device=device).repeat(T, B, 1)
    token_TBK = torch.full((T, B, K), blank, device=device)
    logp_TBK = torch.zeros(T, B, K, device=device)
    final_BK = torch.full((B, K), -torch.inf, device=device)
    final_BK[:, 0] = 0.0

    n = sum(length > 0 for length in lengths)
    score_NK, hash_NK = final_BK[:n], torch.zeros(n, K, dtype=torch.int64, device=device)
    state, p = start(model, n * K, device)
    table_V = None

    for t in range(lengths[0] if lengths else 0):
        running = n
        while lengths[running - 1] <= t:
            running -= 1
        if running < n:
            final_BK[running:n] = score_NK[running:]
            n, score_NK, hash_NK = running, score_NK[:running], hash_NK[:running]
            state, p = select(state, slice(n * K)), p[: n * K]

        logits_NKV = model.joiner.logits(e_BTJ[:n, t, None], p.view(n, K, -1)).float()
        V = logits_NKV.shape[2]
        if table_V is None:
            table_V = token_hashes(V, device)
        logp_NKV = logits_NKV.log_softmax(dim=2)
        total_NC = (logp_NKV + score_NK[:, :, None]).flatten(1)
        score_NK, pick_NK = total_NC.topk(K, dim=1)
        parent_NK, token_NK = pick_NK // V, pick_NK % V
        emits_NK = token_NK != blank
        hash_NK = hash_NK.gather(1, parent_NK)
        hash_NK = torch.where(emits_NK, hash_NK * HASH_FACTOR + table_V[token_NK], hash_NK)

        parent_TBK[t, :n], token_TBK[t, :n] = parent_NK, token_NK
        logp_TBK[t, :n] = logp_NKV.flatten(1).gather(1, pick_NK)
        score_NK = merge_equal(score_NK, hash_NK)

        row = (parent_NK + torch.arange(n, device=device)[:, None] * K).flatten()
        emits_NK &= score_NK > -torch.inf  # those that were merged into another need no predictor
        state, p = advance(model, select(state, row), p[row], token_NK.flatten(), emits_NK.flatten())
    final_BK[:n] = score_NK

    ranked = _trace_back(parent_TBK, token_TBK, logp_TBK, final_BK, lengths, blank, config)
    results = [None] * B
    for place, row in enumerate(order_B.tolist()):
        results[row] = ranked[place]
    return results


def _trace_back(parent_TBK, token_TBK, logp_TBK, score_BK, lengths, blank, config):
    """Follow the back-pointers of all hypotheses at once; return ranked `Hypothesis` lists, longest utterance first."""
    parent_TBK, token_TBK, logp_TBK, score_BK = (
        x.cpu().numpy() for x in (parent_TBK, token_TBK, logp_TBK, score_BK.double())
    )
    T, B, K = parent_TBK.shape
    rows = range(B)
    place_BK = parent_TBK[0] * 0 + range(K) if T else None
    path_TBK, path_logp_TBK = token_TBK.copy(), logp_TBK.copy()
    index_B1 = [[row] for row in rows]
    for t in reversed(range(T)):
        path_TBK[t] = token_TBK[t, index_B1, place_BK]
        path_logp_TBK[t] = logp_TBK[t, index_B1, place_BK]
        place_BK = parent_TBK[t, index_B1, place_BK]
    results = []
    for b in rows:
        hypotheses = []
        for k in range(K):
            if score_BK[b, k] == -float("inf"):
                continue
            frames = (path_TBK[: lengths[b], b, k] != blank).nonzero()[0]
            hypotheses.append(
                Hypothesis(
                    tokens=tuple(path_TBK[frames, b, k].tolist()),
                    frames=tuple(frames.tolist()),
                    token_scores=tuple(path_logp_TBK[frames, b, k].tolist()),
                    score=float(score_BK[b, k]),
                )
            )
        results.append(rank(hypotheses, config))
    return results
