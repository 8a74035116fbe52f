"""Matched-pairs sentence-segment word error test, with the segments of NIST's sclite.

Source: Gillick & Cox, Some statistical issues in the comparison of speech recognition algorithms, ICASSP 1989.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rnnt.scoring.alignment import Alignment
    from rnnt.scoring.report import Report

GOOD_RUN = 2  # correct words of both systems that end a segment


@dataclass(frozen=True)
class Mapsswe:
    """Result of the test."""

    segments: int  # segments in which either system has an error
    mean: float  # errors of B minus errors of A, per segment
    z: float
    p: float  # two-sided


def error_slots(alignment: Alignment) -> np.ndarray:
    """Errors at each slot of a reference of N words, (2N + 1,): even slots hold insertions, odd ones the words."""
    slots = np.zeros(2 * len(alignment.ref) + 1, dtype=np.int64)
    for op, ref_start, ref_end, hyp_start, hyp_end in alignment.spans:
        if op == "insert":
            slots[2 * ref_start] += hyp_end - hyp_start
        elif op != "equal":
            slots[2 * ref_start + 1 : 2 * ref_end : 2] = 1
    return slots


def segment_differences(a: Alignment, b: Alignment) -> list[int]:
    """Errors of B minus errors of A in each segment of two alignments of the same reference.

    A segment begins at an error of either system. It ends where both systems have `GOOD_RUN` correct words in a row,
    without an insertion between or after them, or at the end of the utterance.
    """
    a_slots, b_slots = error_slots(a), error_slots(b)
    wrong = np.flatnonzero(a_slots + b_slots)
    if not len(wrong):
        return []
    right_words = wrong[1:] // 2 - (wrong[:-1] + 1) // 2  # odd slots strictly between two wrong ones
    starts = np.concatenate(([0], np.flatnonzero(right_words >= GOOD_RUN) + 1))
    return np.add.reduceat((b_slots - a_slots)[wrong], starts).tolist()


def mapsswe(a: Report, b: Report) -> Mapsswe:
    """Test two `Report`s on the same references. p is 1 where no segment differs."""
    differences: list[int] = []
    for key, alignment in a.alignments.items():
        differences += segment_differences(alignment, b.alignments[key])
    n = len(differences)
    mean = sum(differences) / n if n else 0.0
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1) if n > 1 else 0.0
    if not any(differences):
        return Mapsswe(n, 0.0, 0.0, 1.0)
    if variance == 0.0:
        # All segments differ by the same number: the spread is unknown, and one segment alone is not evidence.
        z = math.copysign(math.inf, mean) if n > 1 else 0.0
    else:
        z = mean / math.sqrt(variance / n)
    return Mapsswe(n, mean, z, math.erfc(abs(z) / math.sqrt(2)))
