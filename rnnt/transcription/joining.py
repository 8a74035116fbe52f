"""Joins the hypotheses of overlapping chunks into one, without doubled or lost words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat

from rnnt.search.result import Hypothesis

SUBSTITUTE = 1.0
SKIP = 0.8  # two of them cost more than any substitution within the tolerance


@dataclass(frozen=True)
class ChunkHypothesis:
    """The hypothesis of one chunk, whose frames count from `start`; the chunk ends before frame `end`."""

    start: int
    end: int
    hypothesis: Hypothesis
    others: tuple[Hypothesis, ...] = ()  # of the n-best list

    def emissions(self) -> list[Emission]:
        """The tokens with their frames in the complete audio."""
        h = self.hypothesis
        frames = (frame + self.start for frame in h.frames)
        return [Emission(*e) for e in zip(h.tokens, frames, h.token_scores, h.confidences, h.durations or repeat(1))]


@dataclass(frozen=True)
class Emission:
    """One token with its frame in the complete audio."""

    token: int
    frame: int
    score: float
    confidence: float
    duration: int = 1  # in frames


Pair = tuple[Emission | None, Emission | None]  # from the left and the right chunk; None: it has no counterpart


def join(chunks: Iterable[ChunkHypothesis], starts_word: Callable[[int], bool], tolerance: float) -> Hypothesis:
    """Join the hypotheses of overlapping chunks into one, whose frames count from the start of the audio.

    In each overlap both hypotheses are more or less the same. Their tokens are aligned: a token and its counterpart
    are at most `tolerance` frames apart. Then one cut is chosen, near the middle of the overlap, where both chunks have
    much audio on either side: what is aligned before it comes from the left chunk, everything else from the right. The
    cut is between two words for both, or else after a token on which they agree, so that no word is put together from
    two spellings.

    Args:
        chunks: in the order of time.
        starts_word: says whether a word begins with the token.
        tolerance: in frames.
    """
    joined: list[Emission] = []
    end = None  # of the chunk before
    for chunk in chunks:
        new = chunk.emissions()
        joined = new if end is None else _join_two(joined, new, chunk.start, end, starts_word, tolerance)
        end = chunk.end
    return Hypothesis(
        tokens=tuple(e.token for e in joined),
        frames=tuple(e.frame for e in joined),
        token_scores=tuple(e.score for e in joined),
        confidences=tuple(e.confidence for e in joined),
        score=sum(e.score for e in joined),
        durations=tuple(e.duration for e in joined),
    )


def _join_two(
    left: list[Emission],
    right: list[Emission],
    begin: int,
    end: int,
    starts_word: Callable[[int], bool],
    tolerance: float,
) -> list[Emission]:
    """Join at a cut in the overlap [begin, end)."""
    first = next((i for i, e in enumerate(left) if e.frame >= begin), len(left))
    last = next((i for i, e in enumerate(right) if e.frame >= end), len(right))
    pairs = align(left[first:], right[:last], tolerance)
    cut = _choose_cut(pairs, left[first:], right, (begin + end) / 2, (end - begin) / 4, starts_word)
    taken = sum(from_left is not None for from_left, _ in pairs[:cut])
    skipped = sum(from_right is not None for _, from_right in pairs[:cut])
    return left[: first + taken] + right[skipped:]


def align(left: list[Emission], right: list[Emission], tolerance: float) -> list[Pair]:
    """The cheapest alignment in order."""
    # cost[i][j]: of the first i of left and the first j of right.
    cost = [[SKIP * (i + j) for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i, from_left in enumerate(left):
        for j, from_right in enumerate(right):
            skip = min(cost[i][j + 1], cost[i + 1][j]) + SKIP
            cost[i + 1][j + 1] = min(skip, cost[i][j] + _pair_cost(from_left, from_right, tolerance))
    pairs: list[Pair] = []
    i, j = len(left), len(right)
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + _pair_cost(left[i - 1], right[j - 1], tolerance):
            i, j = i - 1, j - 1
            pairs.append((left[i], right[j]))
        elif i and (not j or cost[i][j] == cost[i - 1][j] + SKIP):
            i -= 1
            pairs.append((left[i], None))
        else:
            j -= 1
            pairs.append((None, right[j]))
    return pairs[::-1]


def _pair_cost(left: Emission, right: Emission, tolerance: float) -> float:
    distance = abs(left.frame - right.frame)
    if distance > tolerance:
        return float("inf")
    return (0.0 if left.token == right.token else SUBSTITUTE) + 0.5 * distance / max(tolerance, 1)


def _choose_cut(
    pairs: list[Pair],
    left: list[Emission],
    right: list[Emission],
    middle: float,
    penalty: float,
    starts_word: Callable[[int], bool],
) -> int:
    """How many of the pairs come from the left: near the middle, between words for both or after a common token."""
    times = [sum(e.frame for e in pair if e) / (2 - pair.count(None)) for pair in pairs]
    best_price, best_cut = float("inf"), 0
    taken = skipped = 0
    for cut in range(len(pairs) + 1):
        before = times[cut - 1] if cut else float("-inf")
        after = times[cut] if cut < len(pairs) else float("inf")
        price = max(before - middle, middle - after, 0)
        between_words = all(
            i == len(emissions) or starts_word(emissions[i].token) for i, emissions in ((taken, left), (skipped, right))
        )
        if not between_words:
            price += penalty if cut and _agree(*pairs[cut - 1]) else 4 * penalty
        if price < best_price:
            best_price, best_cut = price, cut
        if cut < len(pairs):
            taken += pairs[cut][0] is not None
            skipped += pairs[cut][1] is not None
    return best_cut


def _agree(left: Emission | None, right: Emission | None) -> bool:
    """Whether both have the same token."""
    return left is not None and right is not None and left.token == right.token
