"""Search: encoder output to token sequences. `search` is the one entry; the options are in `rnnt.search.config`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Hypothesis
    from rnnt.search.stepper import TransducerLike

WORTH_PACKING = 1000  # encoder frames; packing the weights takes about as long as searching a hundred


def search(
    model: TransducerLike,
    h_BTD: Tensor,
    h_len_B: Tensor,
    config: SearchConfig,
    scorers: Iterable[tuple[Scorer, float]] = (),
) -> list[list[Hypothesis]]:
    """Search the best token sequences of a batch.

    Args:
        model: a transducer (`predictor`, `joiner`, `blank_id`, `vocab_size`), or one with `heads`, in evaluation mode.
        h_BTD: encoder output; frames past the lengths are never looked at.
        h_len_B: its lengths in frames, 0 allowed.
        config: which search, and how.
        scorers: pairs of scorer and weight, see `rnnt.search.fusion`.

    Returns:
        Per utterance a list of `Hypothesis`, best first, of which there is at least one.
    """
    import torch

    from rnnt.model.layers import with_prepacked_weights
    from rnnt.registry import find
    from rnnt.search.config import METHODS
    from rnnt.search.ctc.frames import FrameScores
    from rnnt.search.fusion import make_fusion
    from rnnt.search.needs import DURATIONS, check_method, heads_of
    from rnnt.search.stepper import Stepper
    from rnnt.search.tdt.stepper import DurationStepper, joiner_with_durations

    if h_BTD.ndim != 3 or h_len_B.shape != h_BTD.shape[:1]:
        raise ValueError(f"h_BTD {tuple(h_BTD.shape)} and h_len_B {tuple(h_len_B.shape)} do not fit together")
    check_method(model, config)
    with torch.inference_mode():
        fusion = make_fusion(scorers, config, model.vocab_size, model.blank_id)
        function = find(METHODS[config.decoding_method].function)
        first: FrameScores | Stepper
        if config.head in ("", DURATIONS):
            head = heads_of(model)[DURATIONS] if config.head else None
            joiner = joiner_with_durations(model.joiner, head) if head else model.joiner
            if h_BTD.shape[0] * h_BTD.shape[1] >= WORTH_PACKING:
                joiner = with_prepacked_weights(joiner, 64)
            if head:
                first = DurationStepper(model, joiner, head.config.durations, config, fusion)
            else:
                first = Stepper(model, joiner, config, fusion)
        else:
            first = FrameScores(heads_of(model)[config.head], config, model.blank_id, model.vocab_size, fusion)
        found: list[list[Hypothesis]] = function(first, h_BTD, h_len_B.to(h_BTD.device), config)
        return found
