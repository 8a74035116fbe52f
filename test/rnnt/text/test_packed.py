"""Texts as tokens on the disk."""

import gzip

import numpy as np
import pytest

from rnnt.errors import UserError
from rnnt.text import packed
from rnnt.text.packed import pack_texts
from rnnt.text.tokenizer import Tokenizer

LINES = ["one two three", "two", "", "three  one", "four one"]


@pytest.fixture
def tokenizer(toy):
    return Tokenizer.load(toy / "bpe.model")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(LINES) + "\n")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("one one\n\n")
    return [str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")]


def test_gives_the_tokens_of_each_line(files, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "LINES_AT_ONCE", 2)
    text = pack_texts(files, tokenizer, tmp_path / "cache")
    expected = [tokenizer.encode(line) for line in [*LINES, "one one"] if line]
    assert [text[i].tolist() for i in range(len(text))] == expected
    assert text.lengths.tolist() == [len(ids) for ids in expected] and text[0].dtype == np.int64
    assert text.words == 3 + 1 + 2 + 2 + 2
    assert text.unknown == sum(ids.count(tokenizer.unk_id) for ids in expected) > 0


def test_is_made_once(files, tokenizer, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    pack_texts(files, tokenizer, cache)
    monkeypatch.setattr(packed, "_pack", None)
    assert len(pack_texts(files, tokenizer, cache)) == 5
    with pytest.raises(TypeError):  # another text is another one
        pack_texts(files[:1], tokenizer, cache)
    with open(files[0], "a") as file:
        file.write("two two\n")
    with pytest.raises(TypeError):
        pack_texts(files, tokenizer, cache)


@pytest.mark.parametrize("content, message", [(b"\n \n", "without text"), (b"one\n\xff\n", "a.txt:2: not UTF-8")])
def test_bad_texts(tmp_path, tokenizer, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        pack_texts([str(tmp_path / "a.txt")], tokenizer, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir() if not p.name.startswith(".")] == []
    with pytest.raises(UserError, match="none.txt: can't read the text"):
        pack_texts([str(tmp_path / "none.txt")], tokenizer, tmp_path / "cache")
