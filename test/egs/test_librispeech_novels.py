"""The text of the language models, from a database in R's form."""

import struct
import zlib

import pytest


def r_strings(lines):
    """Lines as R serialises a vector of strings: flags, length and bytes of each."""
    return b"X\n" + b"".join(b"\x00\x04\x00\x09" + struct.pack(">i", len(line)) + line.encode() for line in lines)


def r_database(path, novels):
    objects = [r_strings(lines) for lines in novels]
    path.write_bytes(b"".join(struct.pack(">I", len(data)) + zlib.compress(data) for data in objects))


def test_sentences_are_written_like_transcripts(tmp_path, recipe_program, capsys):
    novels = [
        ["CHAPTER I", "", 'Mr. Elton said: "I _am_ here--', "and Emma's friend!\" Yes.", "", "Go on, pray."],
        ["St. James is far. Is it?"],
    ]
    r_database(tmp_path / "Rdata.rdb", novels)
    out = tmp_path / "novels.txt"
    recipe_program("librispeech", "get_novels").main(["--rdb", str(tmp_path / "Rdata.rdb"), "--out", str(out)])
    assert out.read_text().splitlines() == [
        "MISTER ELTON SAID",
        "I AM HERE AND EMMA'S FRIEND YES",  # the mark stands before the quotation's end
        "GO ON PRAY",
        "SAINT JAMES IS FAR",
        "IS IT",
    ]
    assert f"{out}: 19 words in 5 lines" in capsys.readouterr().out


@pytest.mark.parametrize("data", [None, b"\0\0\0\5not zlib"], ids=["missing", "broken"])
def test_what_can_not_be_read_is_named(tmp_path, recipe_program, capsys, data):
    path = tmp_path / "Rdata.rdb"
    if data:
        path.write_bytes(data)
    with pytest.raises(SystemExit):
        recipe_program("librispeech", "get_novels").main(["--rdb", str(path), "--out", str(tmp_path / "out.txt")])
    assert f"{path}: " in capsys.readouterr().err
