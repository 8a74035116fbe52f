"""Joins the hypotheses of overlapping pieces into one, without doubled or lost words."""

from dataclasses import dataclass

from rnnt.search.result import Hypothesis

SUBSTITUTE = 1.0
SKIP = 0.8  # two of them cost more than any substitution within the tolerance


@dataclass(frozen=True)
class Part:
    """The hypothesis of one piece, whose frames count from `start`; the piece ends before frame `end`."""

    start: int
    end: int
    hypothesis: Hypothesis


@dataclass(frozen=True)
class Emission:
    """One token with its frame in the whole audio."""

    token: int
    frame: int
    score: float
    confidence: float


def join(parts, starts_word, tolerance):
    """One `Hypothesis` of `Part`s in the order of time, each overlapping the next; its frames are those of the audio.

    In each overlap both hypotheses say the same, more or less. Their tokens are aligned: a token and its counterpart
    lie at most `tolerance` frames apart. Then one place is chosen, near the middle of the overlap, where both have
    much audio on either side: what is aligned before it comes from the left, all else from the right. The place is
    between two words for both, or else after a token on which they agree, so that no word is put together from two
    spellings.

    starts_word: `starts_word(token)` says whether a word begins with the token.
    """
    joined, end = None, 0
    for part in parts:
        h = part.hypothesis
        rest = zip(h.tokens, h.frames, h.token_scores, h.confidences)
        new = [Emission(t, f + part.start, s, c) for t, f, s, c in rest]
        joined = new if joined is None else _join_two(joined, new, part.start, end, starts_word, tolerance)
        end = part.end
    return Hypothesis(
        tokens=tuple(e.token for e in joined),
        frames=tuple(e.frame for e in joined),
        token_scores=tuple(e.score for e in joined),
        confidences=tuple(e.confidence for e in joined),
        score=sum(e.score for e in joined),
    )


def _join_two(left, right, begin, end, starts_word, tolerance):
    """Join at a place in the overlap [begin, end)."""
    first = next((i for i, e in enumerate(left) if e.frame >= begin), len(left))
    last = next((i for i, e in enumerate(right) if e.frame >= end), len(right))
    pairs = align(left[first:], right[:last], tolerance)
    cut = _choose_cut(pairs, left[first:], right, (begin + end) / 2, (end - begin) / 4, starts_word)
    taken = sum(ours is not None for ours, _ in pairs[:cut])
    skipped = sum(theirs is not None for _, theirs in pairs[:cut])
    return left[: first + taken] + right[skipped:]


def align(left, right, tolerance):
    """Pairs `(left, right)` of emissions, None where one has no counterpart: the cheapest alignment in order."""
    # cost[i][j]: of the first i of left and the first j of right.
    cost = [[SKIP * (i + j) for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i, ours in enumerate(left):
        for j, theirs in enumerate(right):
            skip = min(cost[i][j + 1], cost[i + 1][j]) + SKIP
            cost[i + 1][j + 1] = min(skip, cost[i][j] + _pair_cost(ours, theirs, tolerance))
    pairs, i, j = [], len(left), len(right)
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


def _pair_cost(left, right, tolerance):
    distance = abs(left.frame - right.frame)
    if distance > tolerance:
        return float("inf")
    return (0.0 if left.token == right.token else SUBSTITUTE) + 0.5 * distance / max(tolerance, 1)


def _choose_cut(pairs, left, right, middle, penalty, starts_word):
    """How many of the pairs come from the left: near the middle, between words for both or after a common token."""
    times = [sum(e.frame for e in pair if e) / (2 - pair.count(None)) for pair in pairs]
    best = None
    taken = skipped = 0
    for cut in range(len(pairs) + 1):
        before = times[cut - 1] if cut else float("-inf")
        after = times[cut] if cut < len(pairs) else float("inf")
        price = max(before - middle, middle - after, 0)
        clean = all(
            place == len(emissions) or starts_word(emissions[place].token)
            for place, emissions in ((taken, left), (skipped, right))
        )
        if not clean:
            common = cut and None not in pairs[cut - 1] and pairs[cut - 1][0].token == pairs[cut - 1][1].token
            price += penalty if common else 4 * penalty
        if best is None or price < best[0]:
            best = price, cut
        if cut < len(pairs):
            taken += pairs[cut][0] is not None
            skipped += pairs[cut][1] is not None
    return best[1]
