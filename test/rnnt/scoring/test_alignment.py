import random

import jiwer
import pytest

from rnnt.scoring.alignment import Counts, align, split


def distance(ref, hyp):
    """Levenshtein's distance by the textbook recursion."""
    row = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        last, row[0] = row[0], i
        for j, h in enumerate(hyp, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (r != h))
    return row[-1]


def test_random_pairs_have_the_fewest_edits_and_rebuild_both_sides():
    rng = random.Random(0)
    pairs = [([rng.choice("abc") for _ in range(rng.randrange(9))] for _ in range(2)) for _ in range(300)]
    refs, hyps = zip(*pairs)
    for alignment, ref, hyp in zip(align(list(refs), list(hyps)), refs, hyps):
        assert alignment.counts.errors == distance(ref, hyp)
        assert [r for _, r, _ in alignment.pairs() if r is not None] == ref
        assert [h for _, _, h in alignment.pairs() if h is not None] == hyp
        letters = [op for op, _, _ in alignment.pairs()]
        c = alignment.counts
        assert [letters.count(x) for x in "CSDI"] == [c.correct, c.substitutions, c.deletions, c.insertions]


@pytest.mark.parametrize(
    "ref, hyp, counts",
    [
        ("a b c", "a b c", Counts(3, 0, 0, 0)),
        ("a b c", "a x c", Counts(2, 1, 0, 0)),
        ("a b c", "a c", Counts(2, 0, 1, 0)),
        ("a c", "a b c", Counts(2, 0, 0, 1)),
        ("", "a b", Counts(0, 0, 0, 2)),
        ("a b", "", Counts(0, 0, 2, 0)),
        ("", "", Counts()),
    ],
)
def test_cases_made_by_hand(ref, hyp, counts):
    [alignment] = align([ref.split()], [hyp.split()])
    assert alignment.counts == counts


def test_agrees_with_jiwer_on_words_and_characters():
    refs, hyps = ["one two three", "four five six"], ["one too three four", "five six"]
    for unit, expected in (("word", jiwer.wer(refs, hyps)), ("char", jiwer.cer(refs, hyps))):
        alignments = align([split(r, unit) for r in refs], [split(h, unit) for h in hyps])
        assert (alignments[0].counts + alignments[1].counts).rate == pytest.approx(100 * expected)


def test_split():
    assert split("  ab  c ", "word") == ["ab", "c"]
    assert split("  ab  c ", "char") == ["a", "b", "<space>", "c"]
    with pytest.raises(ValueError, match="unit"):
        split("a", "syllable")


def test_rate_without_reference_units():
    assert Counts().rate == 0.0
    assert Counts(insertions=3).rate == 100.0
