"""Intervals and comparisons by the bootstrap: the test set is drawn again and again, with replacement.

Source: Bisani & Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation, ICASSP 2004.

All utterances of a speaker are drawn together where at least five speakers are known, because they are not independent.
From fewer speakers the spread can't be estimated; then utterances are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rnnt.scoring.report import Report

REPLICATES = 10_000
MIN_SPEAKERS = 5
MAX_DRAWS = 200_000_000  # replicates x groups; beyond it fewer replicates are drawn, each of which is more exact


@dataclass(frozen=True)
class Interval:
    """95 % interval of a rate in percent, from `groups` groups, which are what `drawn` says."""

    low: float
    high: float
    groups: int
    drawn: str  # "speakers" or "utterances"


@dataclass(frozen=True)
class Comparison:
    """System B against system A on the same utterances; rates in percent."""

    difference: float  # rate of B minus rate of A
    interval: Interval  # of the difference
    improvement: float  # fraction of the replicates in which B has the lower rate, ties counted half


def _groups(report: Report) -> tuple[np.ndarray, int, str]:
    """The group of each utterance (N,), the number of groups, and what they are."""
    keys = list(report.alignments)
    names = [report.speakers.get(key) or f"utterance {key}" for key in keys]
    if len(set(report.speakers.values())) >= MIN_SPEAKERS:
        _, numbers = np.unique(names, return_inverse=True)
        return numbers, int(numbers.max()) + 1, "speakers"
    return np.arange(len(keys)), len(keys), "utterances"


def _sums(values: Iterable[int], numbers: np.ndarray, groups: int) -> np.ndarray:
    """Sums of the values of the utterances in each group, (groups,)."""
    return np.bincount(numbers, weights=np.asarray(list(values), dtype=float), minlength=groups)


def _resample(columns_GC: np.ndarray, seed: int) -> np.ndarray:
    """Sums of the columns over each replicate's groups, (replicates, C)."""
    generator = np.random.default_rng(seed)
    G = len(columns_GC)
    replicates = int(max(1000, min(REPLICATES, MAX_DRAWS // max(G, 1))))
    sums = np.empty((replicates, columns_GC.shape[1]))
    for i in range(replicates):
        drawn = np.bincount(generator.integers(0, G, G), minlength=G)
        sums[i] = drawn @ columns_GC
    return sums


def _rates(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    return 100 * errors / np.maximum(words, 1)


def wer_interval(report: Report, seed: int = 0) -> Interval:
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


def compare(a: Report, b: Report, seed: int = 0) -> Comparison:
    """`Comparison` of two `Report`s on the same references; each replicate draws the same groups of both (paired)."""
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
