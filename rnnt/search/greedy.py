"""Batched greedy search that loops over labels, not frames.

The predictor's output changes only when a label is emitted. So each utterance has its own frame pointer, and one
iteration scores several frames ahead of every pointer with the same predictor output and goes straight to the first
label ("label looping", Bataev et al., 2024, arXiv:2406.06220). Iterations number about as many as the labels.
"""

import torch

from rnnt.search.context import adjust_logits, entropy_confidence
from rnnt.search.result import Hypothesis

# Frames scored in an iteration, over all utterances. Looking further ahead means fewer iterations but more joiner work
# thrown away behind a label; on a GPU that work is free until there is much of it.
ROWS_CPU = 64
ROWS_GPU = 1024
LONGEST_WINDOW = 8


def window(N, device):
    """(W,) 0, 1, 2 ...: the frames that each of N utterances looks at, counted from its pointer."""
    rows = ROWS_GPU if device.type == "cuda" else ROWS_CPU
    return torch.arange(min(max(rows // max(N, 1), 2), LONGEST_WINDOW), device=device)


def greedy_search(stepper, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. At most `max_sym_per_frame` labels a frame, then the search moves on without a blank;
    at most `max_sym_per_utt` labels an utterance (0: no limit), then its search ends.

    One host synchronisation an iteration (how many utterances are left).
    """
    B, T, _ = h_BTD.shape
    blank, device = stepper.blank_id, h_BTD.device
    e_FJ = stepper.joiner.project_encoder(h_BTD).flatten(0, 1) if T else None
    found = []
    score_B = torch.zeros(B, device=device)
    row_N = torch.nonzero(h_len_B > 0).flatten()
    len_N = h_len_B[row_N]
    at_N = torch.zeros_like(row_N)  # the frame that each utterance looks at next
    count_N = torch.zeros_like(row_N)  # the labels it has on that frame already
    budget_N = torch.full_like(row_N, config.max_sym_per_utt or T * config.max_sym_per_frame)  # labels it may still get
    context = stepper.start(len(row_N), device)
    ahead_W = window(len(row_N), device)

    while len(row_N):
        frame_NW = at_N[:, None] + ahead_W
        inside_NW = frame_NW < len_N[:, None]
        e_NWJ = e_FJ[row_N[:, None] * T + frame_NW.clamp(max=T - 1)]
        logits_NWV = adjust_logits(stepper.joiner.logits(e_NWJ, context.p_NJ[:, None]), config, blank)
        fused_NWV = logits_NWV if context.extra_NV is None else logits_NWV + context.extra_NV[:, None]
        top_NW, token_NW = fused_NWV.max(dim=2)
        # logsumexp, with the maximum that is there already: it takes half of the time.
        peak_NW = top_NW if context.extra_NV is None else logits_NWV.amax(dim=2)
        total_NW = peak_NW + (logits_NWV - peak_NW[:, :, None]).exp_().sum(dim=2).log_()
        score_NW = top_NW - total_NW

        label_NW = (token_NW != blank) & inside_NW
        has_N = label_NW.any(dim=1)
        first_N = label_NW.byte().argmax(dim=1)
        steps_N = torch.where(has_N, first_N, len(ahead_W))  # frames passed before the label
        score_B.index_add_(0, row_N, score_NW.where(inside_NW & (ahead_W <= steps_N[:, None]), 0.0).sum(dim=1))
        token_N = token_NW.gather(1, first_N[:, None]).squeeze(1)
        at_label = (torch.arange(len(row_N), device=device), first_N)
        logp_N = logits_NWV[(*at_label, token_N)] - total_NW[at_label]
        if config.confidence == "entropy":
            sure_N = entropy_confidence(logits_NWV[at_label].log_softmax(dim=1))
        else:
            sure_N = logp_N.exp()
        label_3N = torch.stack((row_N, torch.where(has_N, token_N, -1), at_N + first_N))
        found.append((label_3N, torch.stack((logp_N, sure_N))))

        count_N = torch.where(steps_N == 0, count_N, 0) + has_N
        full_N = count_N >= config.max_sym_per_frame
        budget_N = budget_N - has_N.long()
        at_N = torch.where(budget_N > 0, at_N + steps_N + full_N, len_N)
        count_N = count_N.where(~full_N, 0)
        context = stepper.advance(context, token_N, has_N)

        left_N = at_N < len_N
        left = int(left_N.sum())
        # Finished utterances are dropped once they are half of the work; that takes another synchronisation.
        if 2 * left <= len(row_N):
            keep = torch.nonzero(left_N).flatten()
            final_N = stepper.final(context)
            if final_N is not None:
                score_B.index_add_(0, row_N, final_N.where(~left_N, 0.0))
            row_N, len_N, at_N, count_N, budget_N, context = (
                x[keep] for x in (row_N, len_N, at_N, count_N, budget_N, context)
            )
            ahead_W = window(left, device)
    return _hypotheses(found, score_B)


def _hypotheses(found, score_B):
    """Sort the labels of all iterations by utterance.

    found: pairs of (row, token or -1, frame), each (N,), and (log-probability, confidence).
    """
    scores = score_B.tolist()
    parts = [([], [], [], []) for _ in scores]
    if found:
        labels, values = (torch.cat(tensors, dim=1) for tensors in zip(*found))
        kept = labels[1] >= 0
        for row, *label in zip(*labels[:, kept].tolist(), *values[:, kept].tolist()):
            for part, value in zip(parts[row], label):
                part.append(value)
    results = []
    for (tokens, frames, token_scores, confidences), score in zip(parts, scores):
        results.append([Hypothesis(tuple(tokens), tuple(frames), tuple(token_scores), tuple(confidences), score)])
    return results
