"""Cuts of a long recording, from words with times that a model might have heard."""

from rnnt.alignment.segments import Limits, cut
from rnnt.search.result import Word


def heard(text, pauses=()):
    """Words of 0.5 s with 0.1 s between them, and 1 s behind those whose numbers are in `pauses`."""
    found, at = [], 0.0
    for i, word in enumerate(text.split()):
        found.append(Word(word, at, at + 0.5, 0.9))
        at += 1.5 if i in pauses else 0.6
    return found


LIMITS = Limits(seconds=4.0)


def test_cuts_lie_in_pauses_between_matching_words():
    said = heard("a b c d e f g h i j", pauses={2, 5, 8})
    segments = cut(said, "A, b c. D e f! G h i -- j", said[-1].end, LIMITS)
    # The first two stretches together would last 4.9 s.
    assert [s.text for s in segments] == ["A, b c.", "D e f!", "G h i -- j"]
    assert segments[0].end == segments[1].start == (said[2].end + said[3].start) / 2
    assert segments[0].start == 0 and segments[-1].end == said[-1].end
    assert [s.fault for s in segments] == ["", "", ""]  # the dash is a word that was not heard, one of five


def test_all_of_the_text_is_in_some_segment_and_what_differs_is_marked():
    said = heard("a b c x y z g h i", pauses={2, 5})
    text = "a b c d e f g h i"
    segments = cut(said, text, said[-1].end, Limits(seconds=3.0))
    assert " ".join(s.text for s in segments) == text
    assert any(s.fault for s in segments)
    # The pauses are beside words that differ: there is nothing to cut at.
    assert [s.fault for s in segments] == ["no pause in matching words to cut at"]


def test_words_that_are_missing_on_either_side_belong_to_the_segment_around_them():
    said = heard("a b c d e f", pauses={1, 3})
    segments = cut(said, "a b c new d e f", said[-1].end, Limits(seconds=2.0, mismatch=0.5))
    assert [s.text for s in segments] == ["a b", "c new d", "e f"]
    assert [round(s.mismatch, 2) for s in segments] == [0, 0.33, 0]


def test_nothing_heard_and_nothing_written():
    assert cut([], "a b", 3.0, LIMITS)[0].fault == "text and audio differ"
    assert cut(heard("a"), "", 3.0, LIMITS)[0].fault == "no text"
