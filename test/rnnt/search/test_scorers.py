from types import SimpleNamespace

import pytest

from rnnt.errors import UserError
from rnnt.search.config import FusionConfig
from rnnt.search.scorers import load_scorers, read_phrases

TOKENIZER = SimpleNamespace(
    encode=lambda text: [{"a": 3, "b": 4, " ": 5}.get(c, 2) for c in text], tokens=list("012ab_"), unk_id=2
)


def test_phrases_with_and_without_their_own_bonus(tmp_path):
    path = tmp_path / "hotwords"
    path.write_text("ab\n\n b  a :2.5\n")
    assert read_phrases(path, 1.5, TOKENIZER) == [((3, 4), 1.5), ((4, 5, 3), 2.5)]


def test_bad_lines_are_named(tmp_path):
    path = tmp_path / "hotwords"
    path.write_text("ab :x\n")
    with pytest.raises(UserError, match="line 1: 'x' is not a number"):
        read_phrases(path, 1.0, TOKENIZER)
    with pytest.raises(UserError, match="can't read the hotwords"):
        read_phrases(tmp_path / "none", 1.0, TOKENIZER)


def test_a_phrase_that_cannot_be_written_is_left_out_and_named(tmp_path, capsys):
    path = tmp_path / "hotwords"
    path.write_text("ab\naz\nba\n")
    assert [tokens for tokens, _ in read_phrases(path, 1.0, TOKENIZER)] == [(3, 4), (4, 3)]
    assert f"{path}: line 2: 'az' is not used" in capsys.readouterr().out


def test_nothing_asked_for_loads_nothing():
    assert load_scorers(FusionConfig(), TOKENIZER) == []
