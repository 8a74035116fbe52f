"""Where words begin and end: models emit a token on a frame or two within its word, the audio tells the edges.

Two words are parted by the longest pause between their tokens: the first lasts to its beginning, the second begins at
its end. Where there is none, the second begins with its token, and the first lasts until then. Models that were trained
with CTC or a transducer loss are peaked: they are free to place a token anywhere in its word (Zeyer et al. 2021,
https://arxiv.org/abs/2105.14849), and do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnnt.search.result import Word

QUIETEST, LOUDEST = 0.05, 0.95  # quantiles of an utterance's frames, by mean log-energy
THRESHOLD = 0.15  # a frame in a pause is below this part of the way from the quietest to the loudest
SHORTEST_PAUSE = 0.03  # seconds
SMALLEST_RANGE = 2.0  # of the mean log-energy: below it (9 dB), nothing tells speech and silence apart

Span = tuple[float, float]  # start and end in seconds


def find_pauses(x_TF: np.ndarray, frame_shift: float) -> list[Span]:
    """The pauses of an utterance.

    Args:
        x_TF: log-mel energies.
        frame_shift: seconds per frame.
    """
    if not len(x_TF):
        return []
    energy_T = x_TF.mean(axis=1)
    low, high = np.quantile(energy_T, (QUIETEST, LOUDEST))
    if high - low < SMALLEST_RANGE:
        return []
    is_quiet_T = np.concatenate(([False], energy_T < low + THRESHOLD * (high - low), [False])).astype(np.int8)
    change_T = np.diff(is_quiet_T)
    spans = zip(np.flatnonzero(change_T == 1) * frame_shift, np.flatnonzero(change_T == -1) * frame_shift)
    return [(float(start), float(end)) for start, end in spans if end - start >= SHORTEST_PAUSE - frame_shift / 2]


def place_words(words: Sequence[Word], pauses: Sequence[Span], seconds: float) -> list[Word]:
    """The words of an utterance with their edges at its pauses.

    Args:
        words: with the times of their tokens.
        pauses: of the utterance.
        seconds: its length.
    """
    gaps = zip([0.0, *(word.end for word in words)], [*(word.start for word in words), seconds])
    found = [_longest(pauses, start, end) for start, end in gaps]
    starts = [pause[1] if pause else word.start for word, pause in zip(words, found)]
    ends = [pause[0] if pause else following for pause, following in zip(found[1:], [*starts[1:], seconds])]
    return [replace(w, start=start, end=max(end, w.end)) for w, start, end in zip(words, starts, ends)]


def _longest(pauses: Sequence[Span], start: float, end: float) -> Span | None:
    """The part of the longest pause between two times."""
    inside = [(max(start, a), min(end, b)) for a, b in pauses if a < end and b > start]
    return max(inside, key=lambda span: span[1] - span[0], default=None)
