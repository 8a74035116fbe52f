"""Joining of chunks: whatever happens at their edges, no word is doubled or lost."""

import numpy as np
import pytest

from rnnt.search.result import Hypothesis
from rnnt.transcription.joining import ChunkHypothesis, Emission, align, join


def chunk(start, end, emissions):
    """A `ChunkHypothesis` of `[(token, frame in the complete audio)]`."""
    tokens, frames = zip(*emissions) if emissions else ((), ())
    count = len(tokens)
    return ChunkHypothesis(
        start, end, Hypothesis(tokens, tuple(f - start for f in frames), (-0.5,) * count, (0.9,) * count, 0.0)
    )


def tokens(chunks, starts_word=lambda token: True, tolerance=10):
    return list(join(chunks, starts_word, tolerance).tokens)


def test_one_chunk_stays_as_it_is_with_its_frames_moved():
    joined = join([chunk(100, 200, [(1, 110), (2, 150)])], lambda t: True, 5)
    assert joined.tokens == (1, 2) and joined.frames == (110, 150) and joined.score == -1.0
    assert join([chunk(0, 9, [])], lambda t: True, 5).tokens == ()


def test_a_word_on_the_middle_with_other_times_is_taken_once():
    # The middle of the overlap [60, 100) is 80.
    for left, right in ((78, 82), (82, 78), (79, 79), (80, 80)):
        assert tokens([chunk(0, 100, [(1, 20), (2, left)]), chunk(60, 160, [(2, right), (3, 140)])]) == [1, 2, 3]


def test_a_word_heard_differently_is_taken_once():
    found = tokens([chunk(0, 100, [(1, 20), (2, 79)]), chunk(60, 160, [(5, 81), (3, 140)])])
    assert found in ([1, 2, 3], [1, 5, 3])


def test_the_same_word_said_twice_stays_twice():
    assert tokens([chunk(0, 100, [(1, 70), (1, 90)]), chunk(60, 160, [(1, 70), (1, 90)])], tolerance=15) == [1, 1]


def test_what_is_cut_by_an_edge_is_dropped():
    # Token 9 is half a word at the end of the left and at the beginning of the right chunk.
    left, right = [(1, 70), (2, 90), (9, 99)], [(9, 60), (1, 70), (2, 90), (3, 100)]
    assert tokens([chunk(0, 100, left), chunk(60, 160, right)]) == [1, 2, 3]


def test_no_word_is_made_of_two_spellings():
    # Word 10+11 in the left is 12+13 in the right; even tokens begin a word.
    left, right = [(2, 66), (10, 79), (11, 81)], [(12, 79), (13, 81), (4, 120)]
    assert tokens([chunk(0, 100, left), chunk(60, 160, right)], lambda t: t % 2 == 0) in (
        [2, 10, 11, 4],
        [2, 12, 13, 4],
    )


def test_text_without_marks_of_words_is_joined_after_a_common_token():
    says = [(1, 62), (2, 70), (3, 78), (4, 83), (5, 90), (6, 97)]
    joined = tokens([chunk(0, 100, [(7, 5), *says]), chunk(60, 160, [*says, (8, 130)])], lambda t: t == 7)
    assert joined == [7, 1, 2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize("seed", range(20))
def test_noisy_times_and_edges_change_nothing(seed):
    """Words 6 to 14 frames apart, heard up to 2 frames early or late, and garbage within 5 frames of each edge."""
    generator = np.random.default_rng(seed)
    frames = np.cumsum(generator.integers(6, 15, 200))
    said = [(int(t), int(f)) for t, f in zip(generator.integers(0, 4, 200), frames)]
    length, hop, chunks = 150, 110, []
    for start in range(0, said[-1][1], hop):
        end = start + length
        inner = [(t, f + int(generator.integers(-2, 3))) for t, f in said if start + 5 <= f < end - 5 or f < 5]
        first = [(9, start + 1)] if start else [(t, f) for t, f in said if f < 5]
        inner = [(t, f) for t, f in inner if start <= f < end]
        chunks.append(chunk(start, end, [*first, *inner, (8, end - 1)]))
        if end > said[-1][1] + 5:
            break
    joined = tokens(chunks, tolerance=5)
    assert [t for t in joined if t < 8] == [t for t, _ in said] and joined.count(9) == 0 and joined[-1] == 8


def test_alignment_pairs_what_is_near_and_equal():
    left = [Emission(t, f, 0.0, 1.0) for t, f in ((1, 10), (2, 20), (3, 30))]
    right = [Emission(t, f, 0.0, 1.0) for t, f in ((2, 21), (4, 29), (5, 60))]
    pairs = [(a and a.token, b and b.token) for a, b in align(left, right, 5)]
    assert pairs == [(1, None), (2, 2), (3, 4), (None, 5)]
