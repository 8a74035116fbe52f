import pytest

from rnnt.errors import UserError
from rnnt.scoring.trn import read_texts, write_trn


def test_round_trip(tmp_path):
    texts = {"spk-1": "one two", "spk-2": "", "spk-3": "(noise) a (b) c"}
    write_trn(tmp_path / "a.trn", texts)
    assert (tmp_path / "a.trn").read_text().splitlines()[:2] == ["one two (spk-1)", "(spk-2)"]
    assert read_texts(tmp_path / "a.trn") == texts


def test_kaldi_text(tmp_path):
    path = tmp_path / "text"
    path.write_text("u1 one  two\nu2\n\nu3\tthree\n")
    assert read_texts(path) == {"u1": "one two", "u2": "", "u3": "three"}


def test_comments_are_skipped(tmp_path):
    path = tmp_path / "x.trn"
    path.write_text(";; made by hand\none (u1)\n")
    assert read_texts(path) == {"u1": "one"}


@pytest.mark.parametrize("content, message", [(b"a (u)\nb (u)\n", "line 2: u is there twice"), (b"\xff\xfe", "UTF-8")])
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_texts(path)
    assert str(path) in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="can't read it"):
        read_texts(tmp_path / "none")
