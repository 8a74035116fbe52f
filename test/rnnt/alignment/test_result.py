"""CTM, TextGrid and JSON of an aligned utterance."""

import re
from dataclasses import replace

from rnnt.alignment.result import AlignedUtterance, ctm_lines, textgrid
from rnnt.alignment.run import doubtful_rows, file_names
from rnnt.search.result import Word

WORDS = [Word("yes", 0.2, 0.5, 0.9), Word('"no"', 0.5, 0.8, 0.25)]
TOKENS = [Word("_y", 0.24, 0.28, 0.9), Word("es", 0.24, 0.28, 0.95), Word('_"no"', 0.6, 0.64, 0.25)]


def utterance(**changed):
    given = AlignedUtterance("an id", None, 1.0, ["a.wav"], 'yes "no"', "yes", -1.5, 0.5, WORDS, TOKENS)
    return replace(given, **changed)


def test_ctm_has_six_columns():
    assert ctm_lines("an id", WORDS) == ["an_id 1 0.200 0.300 yes 0.9000", 'an_id 1 0.500 0.300 "no" 0.2500']


def test_tiers_of_a_textgrid_have_neither_gaps_nor_overlaps():
    text = textgrid(utterance())
    for tier, expected in zip(text.split("item [")[2:], (["", "yes", '""no""', ""], ["", "_y es", "", '_""no""', ""])):
        starts, ends = (re.findall(rf"    {name} = ([\d.]+)", tier) for name in ("xmin", "xmax"))
        assert starts[1] == "0.0000" and ends[-1] == "1.0000"
        assert starts[2:] == ends[1:-1]  # the first of each is that of the tier
        assert re.findall(r'text = "(.*)"', tier) == expected
        assert f"size = {len(expected)}\n" in tier


def test_numbers_that_json_does_not_know_are_null():
    value = utterance(score=-float("inf"), misfit=float("inf"), words=(), tokens=()).as_json()
    assert value["score"] is None and value["misfit"] is None and value["words"] == []
    assert utterance().as_json()["words"][1] == {"word": '"no"', "start": 0.5, "end": 0.8, "confidence": 0.25}


def test_the_worst_utterance_comes_first_with_its_worst_word():
    bad = utterance(id="bad", misfit=3.0)
    none = utterance(id="none", misfit=float("inf"), words=())
    rows = list(doubtful_rows([utterance(), bad, none]))
    assert [row[1] for row in rows[1:]] == ["none", "bad", "an id"]
    assert rows[2][2:5] == ['"no"', "0.50", "0.2500"]
    assert {len(row) for row in rows} == {8}


def test_files_have_names_of_their_own():
    names = file_names([utterance(id=key) for key in ("a/b", "a_b", "../c")])
    assert names == ["a_b-0.TextGrid", "a_b-1.TextGrid", "_c.TextGrid"]
