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
        (["--lang-dir", str(lang)], "there is none; check the transcripts"),
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
