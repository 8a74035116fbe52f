import random

import pytest

from rnnt.errors import UserError
from rnnt.scoring.transcripts import read_pair, read_trn, write_trn


def test_round_trip(tmp_path):
    texts = {"spk-1": "one two", "spk-2": "", "spk-3": "(noise) a (b) c"}
    write_trn(tmp_path / "a.trn", texts)
    assert (tmp_path / "a.trn").read_text().splitlines()[:2] == ["one two (spk-1)", "(spk-2)"]
    assert read_trn(tmp_path / "a.trn") == texts


def test_ids_with_blanks_and_brackets_are_written_as_they_are(tmp_path):
    texts = {"my talk 20": "one (x", "talk (1)": "two ) (y)", "a (b (c)) d": "", "50%20 \\": "three"}
    write_trn(tmp_path / "a.trn", texts)
    lines = (tmp_path / "a.trn").read_text().splitlines()
    assert lines[:3] == ["one (x (my talk 20)", "two ) (y) (talk (1))", "(a (b (c)) d)"]
    assert read_trn(tmp_path / "a.trn") == texts


def test_any_id_and_any_text_are_read_as_they_were_written(tmp_path):
    draw = random.Random(0)

    def word(most):
        return "".join(draw.choices('()ab "\\%;\n\r\t\u2028\u3000\u00e9;', k=draw.randrange(most)))

    texts = {word(7): " ".join(f";;{word(9)}"[draw.randrange(3) :].split()) for _ in range(500)}
    texts.update(
        {"": "empty", "\ufeff": "\ufeffmark", '"quoted"': "a", ") (": "(", "x\n": ";; b", "null": "", '""': ""}
    )
    write_trn(tmp_path / "a.trn", texts)
    assert read_trn(tmp_path / "a.trn") == texts


@pytest.fixture
def pair(tmp_path):
    """`pair(ref, hyp)` is what `read_pair` makes of two files of these bytes."""

    def read(ref, hyp, names=("ref", "hyp")):
        for name, content in zip(names, (ref, hyp)):
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_pair(*(tmp_path / name for name in names))

    return read


def test_kaldi_text(pair):
    kaldi = {"u1": "one two", "u2": "", "u3": "three"}
    assert pair("u1 one  two\nu2\n\nu3\tthree\n", "u1 one two\r\nu2\r\nu3 three\r\n") == (kaldi, kaldi)


def test_comments_and_byte_order_marks_are_skipped(pair):
    assert pair(";; by hand\none (u1)\n", b"\xef\xbb\xbfone (u1)\n") == ({"u1": "one"}, {"u1": "one"})
    assert pair(b"\xef\xbb\xbfu1 one\n", "u1 two\n") == ({"u1": "one"}, {"u1": "two"})


def test_kaldi_text_whose_lines_end_in_brackets(pair):
    ref = "u1 one (laughs)\nu2 two (coughs)\n"
    kaldi = {"u1": "one (laughs)", "u2": "two (coughs)"}
    assert pair(ref, ref) == (kaldi, kaldi)  # both forms agree: ids have digits
    assert pair(ref, "u1 one\nu2 two (coughs)\n") == (kaldi, {"u1": "one", "u2": "two (coughs)"})
    assert pair("a one (laughs)\nb two (laughs)\n", "a one\nb (laughs)\n")[0]["a"] == "one (laughs)"
    same = "a one (laughs)\nb two (laughs)\n"  # an id twice as trn
    assert pair(same, same)[1] == {"a": "one (laughs)", "b": "two (laughs)"}


def test_trn_whatever_its_name(pair):
    ref, hyp = "one two (a)\nthree (b)\n", "one too (a)\nfour (b)\n"
    wanted = {"a": "one two", "b": "three"}, {"a": "one too", "b": "four"}
    assert pair(ref, hyp) == wanted
    assert pair(ref, hyp, ("ref.trn", "hyp.trn")) == wanted
    assert pair(ref, ref, ("ref.trn", "hyp"))[1] == wanted[0]
    assert pair("(u1)\n", "one (u1)\n") == ({"u1": ""}, {"u1": "one"})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"a (u)\nb (u)\n", "line 2: u appears twice"),
        (b"\xff\xfe", "UTF-8"),
        (b"a (u)\n\nb\n", r"line 3: no \(id\) at its end"),
    ],
)
def test_bad_files_are_named(tmp_path, pair, content, message):
    with pytest.raises(UserError, match=message) as caught:
        pair("a (u)\n", content, ("ref.trn", "bad.trn"))
    assert str(tmp_path / "bad.trn") in str(caught.value)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="can't read it"):
        read_trn(tmp_path / "none")
