"""The best path through a lattice whose text is known (Viterbi), for a transducer and for CTC, over whole batches.

Transducer. A node (s, t) means s tokens emitted and t frames consumed, px and py are the scores of its arcs as in
`rnnt.loss.lattice`. The recursion is that of the loss with the maximum for the sum:

    a[0,0] = 0     a[s,t] = max(a[s-1,t] + px[s-1,t], a[s,t-1] + py[s,t-1])

The score of the best path is a[S_b,T_b]. It is the regular lattice: a token consumes no frame, and a blank leaves the
frame. Nodes of one n = s + t depend on those of n - 1 alone, so they are computed at once.

CTC. State i of 2S + 1 is blank for even i and token (i - 1) / 2 for odd i. With e[i,t] the log-probability of its
symbol on frame t

    a[i,0] = e[i,0] for i < 2, else -inf
    a[i,t] = e[i,t] + max(a[i,t-1], a[i-1,t-1], a[i-2,t-1] where i is odd and token i differs from token i-2)

and the best path ends in state 2S_b or 2S_b - 1.

Sources: Graves et al. 2006 (https://doi.org/10.1145/1143844.1143891), Graves 2012 (https://arxiv.org/abs/1211.3711);
Kürzinger et al. 2020 (https://arxiv.org/abs/2007.09127) align long audio with CTC.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class BestPath(NamedTuple):
    """The best path of each utterance of a batch; frames count from 0.

    Attributes:
        score_B: its log-probability, minus infinity where the frames do not suffice for the tokens.
        first_BS: the frame on which each token begins; 0 where there is no token or no path.
        last_BS: the last frame of the token: for CTC that of its repetitions, for a transducer the first.
    """

    score_B: Tensor
    first_BS: Tensor
    last_BS: Tensor


def transducer_best_path(px: Tensor, py: Tensor, y_len_B: Tensor, x_len_B: Tensor) -> BestPath:
    """The best path of a transducer.

    Args:
        px: scores of the token arcs, (B,S,T), of any floating type.
        py: scores of the blank arcs, (B,S+1,T).
        y_len_B: tokens of each utterance.
        x_len_B: its frames.
    """
    B, S, T = px.shape
    device = px.device
    y_len_B, x_len_B = y_len_B.to(device), x_len_B.to(device)
    s_U, s_S = torch.arange(S + 1, device=device), torch.arange(S, device=device)
    score_BU = px.new_full((B, S + 1), -torch.inf, dtype=torch.float64)
    score_BU[:, 0] = 0
    last_B = y_len_B + x_len_B
    final_B = torch.where(last_B == 0, 0.0, -torch.inf).double()
    moved = torch.zeros(S + T + 1, B, S + 1, dtype=torch.bool, device=device)  # whether a node was reached by a token
    for n in range(1, S + T + 1):
        stay_BU = score_BU + _at(py, n - 1 - s_U, x_len_B)  # from (s, t - 1)
        move_BU = F.pad(score_BU[:, :-1] + _at(px, n - 1 - s_S, x_len_B), (1, 0), value=-torch.inf)  # from (s - 1, t)
        moved[n] = move_BU > stay_BU
        score_BU = torch.maximum(stay_BU, move_BU)
        final_B = torch.where(last_B == n, score_BU.gather(1, y_len_B[:, None])[:, 0], final_B)
    frame_BS = torch.zeros(B, S, dtype=torch.int64, device=device)
    rows_B, state_B = torch.arange(B, device=device), y_len_B.clone()
    for n in range(S + T, 0, -1):
        moves_B = moved[n, rows_B, state_B] & (n <= last_B) & (state_B > 0)
        state_B = state_B - moves_B.long()
        # A node left by token s after n - 1 arcs lies on frame n - 1 - s.
        frame_BS[rows_B[moves_B], state_B[moves_B]] = n - 1 - state_B[moves_B]
    frame_BS = frame_BS.masked_fill(final_B[:, None] == -torch.inf, 0)
    return BestPath(final_B, frame_BS, frame_BS)


def _at(arcs: Tensor, t_X: Tensor, x_len_B: Tensor) -> Tensor:
    """(B, X, T) at frame t_X[x] of row x -> (B, X) in double precision; minus infinity outside the frames."""
    T = arcs.shape[2]
    if not T:
        return arcs.new_full(arcs.shape[:2], -torch.inf, dtype=torch.float64)
    found = arcs.gather(2, t_X.clamp(0, T - 1).expand(len(arcs), -1)[..., None])[..., 0].double()
    return found.masked_fill((t_X < 0) | (t_X >= x_len_B[:, None]), -torch.inf)


def ctc_best_path(logp_BTV: Tensor, y_BS: Tensor, x_len_B: Tensor, y_len_B: Tensor, blank_id: int) -> BestPath:
    """The best path of CTC.

    Args:
        logp_BTV: log-probabilities of each frame.
        y_BS: tokens; any id where there is none.
        x_len_B: frames of each utterance.
        y_len_B: its tokens.
        blank_id: the id of blank.
    """
    B, T, _ = logp_BTV.shape
    S, device = y_BS.shape[1], logp_BTV.device
    x_len_B, y_len_B = x_len_B.to(device), y_len_B.to(device)
    symbol_BI = torch.full((B, 2 * S + 1), blank_id, dtype=torch.int64, device=device)
    symbol_BI[:, 1::2] = y_BS.to(device)
    may_skip_BI = torch.zeros_like(symbol_BI, dtype=torch.bool)
    may_skip_BI[:, 3::2] = symbol_BI[:, 3::2] != symbol_BI[:, 1:-2:2]
    score_BI = logp_BTV.new_full(symbol_BI.shape, -torch.inf, dtype=torch.float64)
    score_BI[:, 0] = 0  # before the first frame, from which states 0 and 1 are reached
    step = torch.zeros(T, *symbol_BI.shape, dtype=torch.int8, device=device)  # by how many states a node was reached
    ends_BI = score_BI.clone()
    for t in range(T):
        one_BI = F.pad(score_BI[:, :-1], (1, 0), value=-torch.inf)
        two_BI = F.pad(score_BI[:, :-2], (2, 0), value=-torch.inf)[:, : 2 * S + 1].masked_fill(~may_skip_BI, -torch.inf)
        best_BI, step_BI = torch.stack((score_BI, one_BI, two_BI)).max(dim=0)
        step[t] = step_BI.to(torch.int8)
        score_BI = best_BI + logp_BTV[:, t].gather(1, symbol_BI).double()
        ends_BI = torch.where((x_len_B == t + 1)[:, None], score_BI, ends_BI)
    blank_B = ends_BI.gather(1, 2 * y_len_B[:, None])[:, 0]
    token_B = ends_BI.gather(1, (2 * y_len_B - 1).clamp(min=0)[:, None])[:, 0]
    score_B = torch.maximum(blank_B, token_B)
    state_B = torch.where((token_B > blank_B) & (y_len_B > 0), 2 * y_len_B - 1, 2 * y_len_B)
    rows_B = torch.arange(B, device=device)
    first_BS = torch.zeros(B, S, dtype=torch.int64, device=device)
    last_BS = torch.full_like(first_BS, -1)
    for t in reversed(range(T)):
        inside_B = t < x_len_B
        here = rows_B[inside_B & (state_B % 2 == 1)]
        token = (state_B[here] - 1) // 2
        first_BS[here, token] = t
        last_BS[here, token] = torch.where(last_BS[here, token] < 0, t, last_BS[here, token])
        state_B = torch.where(inside_B, state_B - step[t, rows_B, state_B].long(), state_B)
    without_B1 = score_B[:, None] == -torch.inf
    return BestPath(score_B, first_BS.masked_fill(without_B1, 0), last_BS.clamp(min=0).masked_fill(without_B1, 0))
