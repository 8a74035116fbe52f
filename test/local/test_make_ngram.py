import gzip
import math

import pytest

from rnnt.text.ngram import BOS, read_arpa


@pytest.fixture
def lang(recipe, program):
    program("train_bpe").main(["--vocab-size", "14", "--out", "data/lang"])
    return recipe / "data/lang"


def test_a_model_for_each_order(lang, program):
    program("make_ngram").main(["--lang-dir", str(lang), "--order", "2", "3"])
    for order in (2, 3):
        model = read_arpa(lang / f"{order}gram.arpa")
        assert model.order == order
        tokens = [line.split()[0] for line in (lang / "tokens.txt").read_text().splitlines()]
        unigrams = {gram[0] for gram in model.entries if len(gram) == 1}
        assert unigrams == {*tokens[2:], "<s>", "</s>"}
        total = sum(math.exp(model.log_prob(token, (BOS,))) for token in unigrams - {BOS})
        assert total == pytest.approx(1, abs=1e-6)


def test_bad_input_is_one_line(lang, program, capsys):
    (lang / "transcript_words.txt").write_text("\n")
    for argv, message in (
        (["--lang-dir", str(lang)], "the file holds no text; run stage 5 again"),
        (["--lang-dir", "nowhere"], "nowhere: no such BPE model"),
    ):
        with pytest.raises(SystemExit) as error:
            program("make_ngram").main(argv)
        assert error.value.code == 1
        assert message in capsys.readouterr().err


def test_order_is_checked(lang, program):
    with pytest.raises(SystemExit) as error:
        program("make_ngram").main(["--lang-dir", str(lang), "--order", "0"])
    assert error.value.code == 2


def test_a_model_of_another_text(lang, program, tmp_path, capsys):
    text = tmp_path / "books.txt.gz"
    with gzip.open(text, "wt", encoding="utf-8") as file:
        file.write("one two\n\ntwo three \u00df\n")
    program("make_ngram").main(["--lang-dir", str(lang), "--text", str(text), "--order", "2", "--out", str(tmp_path)])
    assert "from 2 lines of text" in capsys.readouterr().out
    program("make_ngram").main(
        ["--lang-dir", str(lang), "--text", str(text), "--order", "2", "--out", str(tmp_path), "--unit", "word"]
    )
    model = read_arpa(tmp_path / "books-word-2gram.arpa")
    assert {gram[0] for gram in model.entries if len(gram) == 1} == {
        "<s>", "</s>", "<unk>", "one", "two", "three", "\u00df"
    }  # fmt: skip
    model = read_arpa(tmp_path / "books-2gram.arpa")
    assert model.order == 2 and ("<unk>",) in model.entries
    assert not list(lang.glob("books*"))
    text.write_bytes(text.read_bytes()[:20])
    with pytest.raises(SystemExit):
        program("make_ngram").main(["--lang-dir", str(lang), "--text", str(text)])
    assert "books.txt.gz: can't read it" in capsys.readouterr().err
