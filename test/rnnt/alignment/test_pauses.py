"""Pauses of made energies, and words whose edges are there."""

import numpy as np
import pytest

from rnnt.alignment.pauses import find_pauses, place_words
from rnnt.search.result import Word


def energies(*stretches):
    """(T, 4): `stretches` of (frames, energy), with a little noise."""
    level_T = np.concatenate([np.full(frames, level, dtype=float) for frames, level in stretches])
    return level_T[:, None] + 0.1 * np.random.default_rng(0).standard_normal((len(level_T), 4))


def test_pauses_are_where_nothing_is_loud():
    x_TF = energies((10, 0), (30, 10), (2, 0), (20, 9), (15, 1), (20, 8))
    # Two quiet frames are a closure within a word.
    assert find_pauses(x_TF, 0.01) == [(0.0, pytest.approx(0.1)), (pytest.approx(0.62), pytest.approx(0.77))]
    assert find_pauses(energies((50, 3)), 0.01) == []  # all alike: silence or speech, who knows
    assert find_pauses(np.zeros((0, 4)), 0.01) == []


def test_words_begin_and_end_at_the_longest_pause_between_their_tokens():
    words = [Word("a", 0.2, 0.24, 0.9), Word("b", 0.6, 0.64, 0.8), Word("c", 0.8, 0.84, 0.7)]
    pauses = [(0.0, 0.1), (0.3, 0.34), (0.4, 0.5), (0.95, 1.2)]
    placed = place_words(words, pauses, 1.2)
    assert [(w.word, w.start, w.end) for w in placed] == [("a", 0.1, 0.4), ("b", 0.5, 0.8), ("c", 0.8, 0.95)]
    assert [w.confidence for w in placed] == [0.9, 0.8, 0.7]
    # A word has at least the frames of its tokens.
    assert [(w.start, w.end) for w in place_words(words[:1], [(0.1, 0.3)], 0.5)] == [(0.2, 0.24)]
    assert place_words([], pauses, 1.2) == []
