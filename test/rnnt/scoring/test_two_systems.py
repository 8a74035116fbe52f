"""The page about two systems: which utterances it shows, and how it lays them below each other."""

import pytest

from rnnt.scoring import score
from rnnt.scoring.alignment import align
from rnnt.scoring.pages.two_systems import KINDS, columns, different_first, write_compare_page


@pytest.mark.parametrize(
    "ref, a, b",
    [
        ("one two three", "one too three", "zero one two"),
        ("one", "x y one", "z one q"),
        ("", "a", "b c"),
        ("one two", "", "one two"),
    ],
)
def test_columns_hold_all_words_in_order(ref, a, b):
    alignments = align([ref.split()] * 2, [a.split(), b.split()])
    found = columns(*alignments)
    for side, text in enumerate((ref, a, b)):
        assert [column[side][1] for column in found if column[side][1]] == text.split()
    for side, alignment in enumerate(alignments, 1):
        letters = [column[side][0] for column in found]
        counts = alignment.counts
        assert [letters.count(x) for x in "CSDI"] == [
            counts.correct, counts.substitutions, counts.deletions, counts.insertions
        ]  # fmt: skip


def test_insertions_before_the_same_word_share_a_column():
    found = columns(*align([["one"]] * 2, [["x", "y", "one"], ["z", "one"]]))
    assert [[word for _, word in column] for column in found] == [
        [None, "x", "z"], [None, "y", None], ["one", "one", "one"]
    ]  # fmt: skip


def test_the_largest_difference_comes_first():
    refs = {"same": "one two", "both": "one two", "b": "one two three", "a": "one two"}
    a = score(refs, {**refs, "both": "x two", "a": "x two"})
    b = score(refs, {**refs, "both": "y two", "b": "x y three"})
    assert different_first(a, b) == ["b", "a", "both"]


def test_two_systems_without_an_error(tmp_path, checked_page):
    write_compare_page(tmp_path / "page.html", "a", "b", [])
    assert "Neither makes an error." in checked_page((tmp_path / "page.html").read_text()).text
    assert set(KINDS) == {"A", "B", "="}
