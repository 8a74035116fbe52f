"""Batched beam search with at most one token per frame.

Every hypothesis takes exactly one step per frame, blank or token, so a batch stays in step. Hypotheses with the same
tokens are merged by adding their probabilities, after the best steps were taken, as in icefall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnt.search.batched_beam import Beam, BeamSearch, run_frames
from rnnt.search.stepper import Stepper

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.result import Hypothesis


def modified_beam_search(
    stepper: Stepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`. No host synchronisation inside the loop on a GPU."""
    return run_frames(stepper, h_BTD, h_len_B, config, one_frame)


def one_frame(search: BeamSearch, e_NJ: Tensor, t: int, beam: Beam) -> Beam:
    """The beam after frame `t`, whose projected encoder output is `e_NJ`."""
    logp_NKV = search.log_probs(beam, e_NJ)
    score_NK, step_NK = search.total_scores(beam, logp_NKV).flatten(1).topk(beam.score_NK.shape[1], dim=1)
    return search.extend(beam, t, logp_NKV, score_NK, step_NK)
