"""Matched-pairs sentence-segment word error test (Gillick & Cox, Some statistical issues in the comparison of speech
recognition algorithms, ICASSP 1989), with the segments of NIST's sclite.
"""

import math
from dataclasses import dataclass

import numpy as np

GOOD_RUN = 2  # correct words of both systems that end a segment


@dataclass(frozen=True)
class Mapsswe:
    """Result: segments with errors, mean errors of B minus A in one, the statistic Z and its two-sided p value."""

    segments: int
    mean: float
    z: float
    p: float


def error_slots(alignment):
    """Errors at each place of the reference, (2N + 1,): gaps hold insertions, odd places the words."""
    slots = np.zeros(2 * len(alignment.ref) + 1, dtype=np.int64)
    for op, ref_start, ref_end, hyp_start, hyp_end in alignment.chunks:
        if op == "insert":
            slots[2 * ref_start] += hyp_end - hyp_start
        elif op != "equal":
            slots[2 * ref_start + 1 : 2 * ref_end : 2] = 1
    return slots


def segment_differences(a, b):
    """Errors of B minus errors of A in each segment of two alignments of the same reference.

    A segment begins at an error of either system and ends where both have `GOOD_RUN` words right in a row, without
    an insertion between or after them, or with the utterance.
    """
    a_slots, b_slots = error_slots(a), error_slots(b)
    wrong = np.flatnonzero(a_slots + b_slots)
    if not len(wrong):
        return []
    right_words = wrong[1:] // 2 - (wrong[:-1] + 1) // 2  # odd places strictly between two wrong ones
    starts = np.concatenate(([0], np.flatnonzero(right_words >= GOOD_RUN) + 1))
    return np.add.reduceat((b_slots - a_slots)[wrong], starts).tolist()


def mapsswe(a, b):
    """Test two `Report`s on the same references. p is 1 where no segment differs."""
    differences = []
    for key, alignment in a.alignments.items():
        differences += segment_differences(alignment, b.alignments[key])
    n = len(differences)
    mean = sum(differences) / n if n else 0.0
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1) if n > 1 else 0.0
    if not any(differences):
        return Mapsswe(n, 0.0, 0.0, 1.0)
    if variance == 0.0:
        # All segments differ alike: no estimate of the spread, so no evidence to speak of from one of them.
        z = math.copysign(math.inf, mean) if n > 1 else 0.0
    else:
        z = mean / math.sqrt(variance / n)
    return Mapsswe(n, mean, z, math.erfc(abs(z) / math.sqrt(2)))
