"""The recursion over a lattice whose arcs last several frames, for a complete batch at once, on any device.

An arc of duration d leads from node (state u, frame t) to (u, t + d) if it is a blank, which needs d > 0, and to
(u + 1, t + d) if it is a token. So all arcs lead to a later wavefront w = t + u: blanks to w + d, tokens to w + d + 1,
and one step is a few vector operations over utterances and states. The last arc is a blank that ends exactly at frame
T_b; a token never reaches T_b.

With a the forward scores and b the backward scores, in float64, an arc's occupation is exp(a[start] + arc + b[end] -
score). The formulas are those of `reference_tdt.log_likelihood`.

Letters: W wavefronts; C what leaves a node: the scores of blank, of the token, and of each of the durations; U states;
D durations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from rnnt.loss.native.wavefront import LOG_ZERO, SMALLEST_OCCUPATION

BLANK, TOKEN, FIRST_DURATION = 0, 1, 2


def solve_durations(
    x_WCBU: Tensor, durations: Sequence[int], x_len_B: Tensor, y_len_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores of a batch; replaces what leaves each node by its occupations, in place.

    Args:
        x_WCBU: log-probabilities, at least LOG_ZERO or NaN, LOG_ZERO where no node is; W is the largest T_b + S_b, and
            one more.
        durations: of the channels from `FIRST_DURATION` on, in frames.
        x_len_B: T_b, int64 on the CPU.
        y_len_B: S_b, likewise.

    Returns:
        score_B in float64, of any value up to LOG_ZERO / 2 where there is no path; has_path_B, bool.
    """
    alpha_WBU = _forward(x_WCBU, durations)
    score_B = _final_scores(x_WCBU, alpha_WBU, durations, x_len_B, y_len_B)
    has_path_B = ~(score_B <= LOG_ZERO / 2)  # NaN is a fault of the inputs, not a lack of paths
    _occupations(x_WCBU, alpha_WBU, durations, torch.where(has_path_B, score_B, torch.inf), x_len_B, y_len_B)
    return score_B, has_path_B


def _forward(x_WCBU: Tensor, durations: Sequence[int]) -> Tensor:
    """The forward scores of all nodes."""
    W, _, B, U = x_WCBU.shape
    longest = max(durations)
    alpha_WBU = x_WCBU.new_full((W + longest + 1, B, U), LOG_ZERO, dtype=torch.float64)
    alpha_WBU[0, :, 0] = 0
    for w in range(W):
        leaving_CBU, lasting_DBU = x_WCBU[w, :FIRST_DURATION] + alpha_WBU[w], x_WCBU[w, FIRST_DURATION:]
        for j, d in enumerate(durations):
            if d > 0:
                end_BU = alpha_WBU[w + d]
                torch.logaddexp(end_BU, leaving_CBU[BLANK] + lasting_DBU[j], out=end_BU)
            end = alpha_WBU[w + d + 1, :, 1:]
            torch.logaddexp(end, leaving_CBU[TOKEN, :, :-1] + lasting_DBU[j, :, :-1], out=end)
    return alpha_WBU[:W]


def _final_scores(
    x_WCBU: Tensor, alpha_WBU: Tensor, durations: Sequence[int], x_len_B: Tensor, y_len_B: Tensor
) -> Tensor:
    """score_B: the sum over the blanks that end at the last node."""
    device = x_WCBU.device
    utterance_B, end_B = torch.arange(len(x_len_B), device=device), (x_len_B + y_len_B).to(device, non_blocking=True)
    state_B = y_len_B.to(device, non_blocking=True)
    scores = []
    for j, d in enumerate(durations):
        if d > 0:
            start_B = (end_B - d).clamp(min=0)
            last_B = alpha_WBU[start_B, utterance_B, state_B]
            for channel in (BLANK, FIRST_DURATION + j):
                last_B = last_B + x_WCBU[start_B, channel, utterance_B, state_B]
            scores.append(torch.where(end_B >= d, last_B, LOG_ZERO))
    # Nothing to say in no time is certain.
    return torch.where(end_B > 0, torch.stack(scores).logsumexp(0), 0.0)


def _occupations(
    x_WCBU: Tensor, alpha_WBU: Tensor, durations: Sequence[int], score_B: Tensor, x_len_B: Tensor, y_len_B: Tensor
) -> None:
    """Replaces what leaves each node by occupations, from the last wavefront to the first."""
    W, _, B, U = x_WCBU.shape
    ends = defaultdict(list)
    for b, (T_b, S_b) in enumerate(zip(x_len_B.tolist(), y_len_B.tolist())):
        ends[T_b + S_b].append((b, S_b))
    blanks = [(j, d) for j, d in enumerate(durations) if d > 0]
    # Backward scores of the next wavefronts, as a blank and as a token arrives there: only a blank reaches the end.
    ring = max(durations) + 2
    blank_beta, token_beta = (alpha_WBU.new_full((ring, B, U), LOG_ZERO) for _ in range(2))
    arcs = alpha_WBU.new_full((len(blanks) + len(durations), B, U), LOG_ZERO)
    for w in reversed(range(W)):
        x_CBU = x_WCBU[w].double()
        for i, (j, d) in enumerate(blanks):
            torch.add(x_CBU[BLANK] + x_CBU[FIRST_DURATION + j], blank_beta[(w + d) % ring], out=arcs[i])
        for j, d in enumerate(durations):
            token_BU = x_CBU[TOKEN, :, :-1] + x_CBU[FIRST_DURATION + j, :, :-1]
            torch.add(token_BU, token_beta[(w + d + 1) % ring, :, 1:], out=arcs[len(blanks) + j, :, :-1])
        torch.logsumexp(arcs, 0, out=token_beta[w % ring])
        blank_beta[w % ring] = token_beta[w % ring]
        for b, state in ends[w]:
            blank_beta[w % ring, b, state] = 0
        occupation = torch.exp(arcs + (alpha_WBU[w] - score_B[:, None]))
        by_blank, by_token = occupation[: len(blanks)], occupation[len(blanks) :]
        x_CBU[BLANK], x_CBU[TOKEN], x_CBU[FIRST_DURATION:] = by_blank.sum(0), by_token.sum(0), by_token
        for i, (j, _) in enumerate(blanks):
            x_CBU[FIRST_DURATION + j] += by_blank[i]
        x_WCBU[w] = torch.threshold_(x_CBU, SMALLEST_OCCUPATION, 0.0)
