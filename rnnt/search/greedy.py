"""Batched greedy search that loops over labels, not frames.

The predictor's output changes only when a label is emitted. So each utterance has its own frame pointer, and one
iteration scores several frames ahead of every pointer with the same predictor output and goes straight to the first
label ("label looping", Bataev et al., 2024, arXiv:2406.06220). Iterations number about as many as the labels.
"""

import torch

from rnnt.search.result import Hypothesis
from rnnt.search.states import advance, select, start

# Frames scored in an iteration, over all utterances. Looking further ahead means fewer iterations but more joiner work
# thrown away behind a label; on a GPU that work is free until there is much of it.
ROWS_CPU = 64
ROWS_GPU = 1024
LONGEST_WINDOW = 8


def window(N, device):
    """(W,) 0, 1, 2 ...: the frames that each of N utterances looks at, counted from its pointer."""
    rows = ROWS_GPU if device.type == "cuda" else ROWS_CPU
    return torch.arange(min(max(rows // max(N, 1), 2), LONGEST_WINDOW), device=device)


def greedy_search(model, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. At most `max_sym_per_frame` labels a frame, then the search moves on without a blank.

    One host synchronisation an iteration (how many utterances are left).
    """
    B, T, _ = h_BTD.shape
    device = h_BTD.device
    found = []
    score_B = torch.zeros(B, device=device)
    if T == 0:
        return _hypotheses(found, score_B)
    e_FJ = model.joiner.project_encoder(h_BTD).flatten(0, 1)
    row_N = torch.nonzero(h_len_B > 0).flatten()
    N = len(row_N)
    len_N = h_len_B[row_N]
    at_N = torch.zeros_like(row_N)
    count_N = torch.zeros_like(row_N)
    state, p_NJ = start(model, N, device)

    ahead_W = window(N, device)
    while N > 0:
        W = len(ahead_W)
        frame_NW = at_N[:, None] + ahead_W
        inside_NW = frame_NW < len_N[:, None]
        e_NWJ = e_FJ[row_N[:, None] * T + frame_NW.clamp(max=T - 1)]
        logits_NWV = model.joiner.logits(e_NWJ, p_NJ[:, None]).float()
        top_NW, token_NW = logits_NWV.max(dim=2)
        logp_NW = top_NW - logits_NWV.logsumexp(dim=2)

        label_NW = (token_NW != model.blank_id) & inside_NW
        has_N = label_NW.any(dim=1)
        first_N = label_NW.byte().argmax(dim=1)
        seen_NW = inside_NW & (ahead_W <= torch.where(has_N, first_N, W)[:, None])
        score_B.index_add_(0, row_N, logp_NW.where(seen_NW, 0.0).sum(dim=1))
        token_N = token_NW.gather(1, first_N[:, None]).squeeze(1)
        logp_N = logp_NW.gather(1, first_N[:, None]).squeeze(1)
        found.append((torch.stack((row_N, torch.where(has_N, token_N, -1), at_N + first_N)), logp_N))

        count_N = torch.where(first_N == 0, count_N, 0) + 1
        full_N = count_N >= config.max_sym_per_frame
        at_N = at_N + torch.where(has_N, first_N + full_N, W)
        count_N = count_N.where(has_N & ~full_N, 0)
        state, p_NJ = advance(model, state, p_NJ, token_N, has_N)

        left_N = at_N < len_N
        left = int(left_N.sum())
        # Finished utterances are dropped once they are half of the work; that takes another synchronisation.
        if left == 0 or 2 * left <= N:
            keep = torch.nonzero(left_N).flatten()
            row_N, len_N, at_N, count_N, p_NJ = (x[keep] for x in (row_N, len_N, at_N, count_N, p_NJ))
            state = select(state, keep)
            N = left
            ahead_W = window(N, device)
    return _hypotheses(found, score_B)


def _hypotheses(found, score_B):
    """Sort the labels found in each iteration, (row, token or -1, frame) and log-probability, by utterance."""
    scores = score_B.tolist()
    parts = [([], [], []) for _ in scores]
    if found:
        labels = torch.cat([label for label, _ in found], dim=1)
        logp = torch.cat([p for _, p in found])
        kept = labels[1] >= 0
        for row, token, frame, p in zip(*labels[:, kept].tolist(), logp[kept].tolist()):
            tokens, frames, token_scores = parts[row]
            tokens.append(token)
            frames.append(frame)
            token_scores.append(p)
    return [[Hypothesis(tuple(a), tuple(b), tuple(c), score)] for (a, b, c), score in zip(parts, scores)]
