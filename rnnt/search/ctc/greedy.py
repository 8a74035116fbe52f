"""The best path of a CTC layer: the best symbol of each frame, repetitions joined, blanks left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnt.search.greedy import make_hypotheses
from rnnt.search.stepper import entropy_confidence

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.ctc.frames import FrameScores
    from rnnt.search.result import Hypothesis


def ctc_greedy_search(
    scores: FrameScores, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[Hypothesis]]:
    """See `rnnt.search.search` (Graves et al. 2006, best path decoding). No loop over frames.

    A token lies on the first of its frames. The score is that of the path.

    Raises:
        UserError: language models, hotwords or a length bonus are asked for: the best path cannot weigh them.
    """
    scores.without_fusion()
    if not h_BTD.shape[1]:
        return make_hypotheses([], torch.zeros(len(h_BTD)))
    return best_paths(scores, h_BTD, h_len_B, h_len_B.new_full((len(h_BTD),), scores.blank_id))[0]


def best_paths(
    scores: FrameScores, h_BTD: Tensor, h_len_B: Tensor, last_B: Tensor
) -> tuple[list[list[Hypothesis]], Tensor]:
    """The best path of each utterance, and its last symbol.

    Args:
        scores: of the frames.
        h_BTD: encoder output, at least a frame.
        h_len_B: its lengths.
        last_B: the symbol of the frame before, blank where there is none.
    """
    logp_BTV = scores.log_probs(h_BTD)
    best_BT, token_BT = logp_BTV.max(dim=2)
    inside_BT = torch.arange(h_BTD.shape[1], device=h_BTD.device) < h_len_B[:, None]
    score_B = best_BT.where(inside_BT, 0.0).sum(dim=1)
    before_BT = torch.cat((last_B[:, None], token_BT[:, :-1]), dim=1)
    is_new_BT = (token_BT != before_BT) & inside_BT & (token_BT != scores.blank_id)
    row_X, frame_X = torch.nonzero(is_new_BT, as_tuple=True)
    best_X = best_BT[row_X, frame_X]
    is_entropy = scores.config.confidence == "entropy"
    confidence_X = entropy_confidence(logp_BTV[row_X, frame_X]) if is_entropy else best_X.exp()
    ids_3X = torch.stack((row_X, token_BT[row_X, frame_X], frame_X))
    at_end_B = token_BT.gather(1, (h_len_B - 1).clamp(min=0)[:, None]).squeeze(1).where(h_len_B > 0, last_B)
    return make_hypotheses([(ids_3X, torch.stack((best_X, confidence_X)))], score_B), at_end_B
