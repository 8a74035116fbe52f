import pytest

from rnnt.search.result import Hypothesis
from rnnt.search.words import Word, words

PIECES = ["<blk>", "\u2581on", "e", "\u2581", "two", "\u2581three"]


def make(tokens, frames, confidences):
    return Hypothesis(tuple(tokens), tuple(frames), (0.0,) * len(tokens), tuple(confidences), 0.0)


def test_pieces_are_joined_and_placed():
    found = words(make([1, 2, 3, 4, 5], [2, 3, 10, 12, 20], [0.9, 0.5, 0.8, 0.7, 1.0]), PIECES, 0.04)
    assert [w.word for w in found] == ["one", "two", "three"]
    assert [(w.start, w.end) for w in found] == [
        pytest.approx((0.08, 0.16)),
        pytest.approx((0.48, 0.52)),
        pytest.approx((0.8, 0.84)),
    ]
    assert [w.confidence for w in found] == [0.5, 0.7, 1.0]


def test_first_piece_without_a_mark_begins_a_word():
    assert words(make([2], [0], [0.3]), PIECES, 0.1) == [Word("e", 0.0, 0.1, 0.3)]


def test_a_mark_alone_is_no_word():
    assert words(make([3, 1], [0, 4], [0.1, 0.9]), PIECES, 0.25) == [Word("on", 1.0, 1.25, 0.9)]
    assert words(make([], [], []), PIECES, 0.1) == []
