"""Intervals and comparisons by the bootstrap (Bisani & Ney, Bootstrap estimates for confidence intervals in ASR
performance evaluation, ICASSP 2004): the test set is drawn anew, with replacement, many times.

Whole speakers are drawn where at least five are known, because the utterances of one speaker are not independent; of
fewer speakers a spread can't be estimated, so then utterances are drawn.
"""

from dataclasses import dataclass

import numpy as np

REPLICATES = 10_000
FEWEST_SPEAKERS = 5
MOST_DRAWS = 200_000_000  # replicates x groups; beyond it there are fewer replicates, and each is all the more exact


@dataclass(frozen=True)
class Interval:
    """95 % interval of a rate in percent, from so many groups, which are "speakers" or "utterances"."""

    low: float
    high: float
    groups: int
    drawn: str


@dataclass(frozen=True)
class Comparison:
    """System B against system A on the same utterances; rates in percent."""

    difference: float  # rate of B minus rate of A
    interval: Interval  # of the difference
    improvement: float  # share of replicates in which B has the lower rate, ties counted half


def _groups(report):
    """Group numbers (utterances,), the number of groups, and what they are."""
    keys = list(report.alignments)
    names = [report.speakers.get(key) or f"utterance {key}" for key in keys]
    if len(set(report.speakers.values())) >= FEWEST_SPEAKERS:
        _, numbers = np.unique(names, return_inverse=True)
        return numbers, int(numbers.max()) + 1, "speakers"
    return np.arange(len(keys)), len(keys), "utterances"


def _sums(values, numbers, groups):
    return np.bincount(numbers, weights=np.asarray(values, dtype=float), minlength=groups)


def _resample(columns_GC, seed):
    """Sums of the columns over each replicate's groups, (replicates, C)."""
    generator = np.random.default_rng(seed)
    G = len(columns_GC)
    replicates = int(max(1000, min(REPLICATES, MOST_DRAWS // max(G, 1))))
    sums = np.empty((replicates, columns_GC.shape[1]))
    for i in range(replicates):
        drawn = np.bincount(generator.integers(0, G, G), minlength=G)
        sums[i] = drawn @ columns_GC
    return sums


def _rates(errors, words):
    return 100 * errors / np.maximum(words, 1)


def wer_interval(report, seed=0):
    """95 % `Interval` of the error rate of a `Report`: the middle 95 % of the replicates."""
    numbers, G, drawn = _groups(report)
    if G == 0:
        return Interval(0.0, 0.0, 0, drawn)
    counts = report.counts_by_utterance.values()
    errors = _sums([c.errors for c in counts], numbers, G)
    words = _sums([c.length for c in counts], numbers, G)
    sums = _resample(np.stack((errors, words), axis=1), seed)
    low, high = np.percentile(_rates(sums[:, 0], sums[:, 1]), [2.5, 97.5])
    return Interval(float(low), float(high), G, drawn)


def compare(a, b, seed=0):
    """`Comparison` of two `Report`s on the same references; both are drawn alike, so that the pairing counts."""
    if list(a.alignments) != list(b.alignments):
        raise ValueError("the two reports must have the same utterances in the same order")
    numbers, G, drawn = _groups(a)
    if G == 0:
        return Comparison(0.0, Interval(0.0, 0.0, 0, drawn), 0.5)
    columns = [
        [c.errors for c in a.counts_by_utterance.values()],
        [c.errors for c in b.counts_by_utterance.values()],
        [c.length for c in a.counts_by_utterance.values()],
    ]
    sums = _resample(np.stack([_sums(column, numbers, G) for column in columns], axis=1), seed)
    differences = _rates(sums[:, 1], sums[:, 2]) - _rates(sums[:, 0], sums[:, 2])
    low, high = np.percentile(differences, [2.5, 97.5])
    better = float(np.mean(differences < 0) + 0.5 * np.mean(differences == 0))
    return Comparison(b.rate - a.rate, Interval(float(low), float(high), G, drawn), better)
