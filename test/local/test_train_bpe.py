import pytest
from lhotse import SupervisionSegment, SupervisionSet

from rnnt.text.tokenizer import Tokenizer


def test_model_tokens_and_transcripts(recipe, program, capsys):
    program("train_bpe").main(["--vocab-size", "14", "--out", "data/lang"])
    tokenizer = Tokenizer.load("data/lang")
    rows = [line.split(" ") for line in (recipe / "data/lang/tokens.txt").read_text().splitlines()]
    assert rows[:3] == [["<blk>", "0"], ["<sos/eos>", "1"], ["<unk>", "2"]]
    assert [token for token, _ in rows] == tokenizer.tokens
    assert len(rows) == 14
    transcripts = (recipe / "data/lang/transcript_words.txt").read_text().splitlines()
    assert len(transcripts) == 8 and transcripts[0] == "one"
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in transcripts)


def test_blank_last(recipe, program):
    program("train_bpe").main(["--vocab-size", "12", "--blank", "last", "--out", "data/lang"])
    tokenizer = Tokenizer.load("data/lang")
    rows = (recipe / "data/lang/tokens.txt").read_text().splitlines()
    assert rows[0] == "<unk> 0" and rows[12:] == ["<blk> 12"]
    assert (tokenizer.unk_id, tokenizer.blank_id, tokenizer.vocab_size) == (0, 12, 13)
    assert "<sos/eos>" not in tokenizer.tokens
    assert tokenizer.decode(tokenizer.encode("one")) == "one"


def test_the_same_text_gives_the_same_model(recipe, program):
    for out in ("data/a", "data/b"):
        program("train_bpe").main(["--vocab-size", "14", "--out", out])
    assert (recipe / "data/a/bpe.model").read_bytes() == (recipe / "data/b/bpe.model").read_bytes()


def test_too_large_vocabularies_are_capped_with_a_message(recipe, program, capsys):
    program("train_bpe").main(["--vocab-size", "14", "500"])
    size = Tokenizer.load("data/lang_bpe_500").vocab_size
    assert 14 <= size < 500
    assert f"data/lang_bpe_500: {size} tokens; the transcripts are too small for 500" in capsys.readouterr().out
    assert Tokenizer.load("data/lang_bpe_14").vocab_size == 14


def test_too_small_vocabulary_names_the_least(recipe, program, capsys):
    with pytest.raises(SystemExit) as error:
        program("train_bpe").main(["--vocab-size", "5"])
    assert error.value.code == 1
    assert "choose at least" in capsys.readouterr().err
    assert not (recipe / "data/lang_bpe_5/bpe.model").exists()


def test_bad_input_is_one_line(recipe, program, capsys):
    with pytest.raises(SystemExit):
        program("train_bpe").main(["--vocab-size", "14", "--train-set", "other"])
    assert "other_supervisions.jsonl.gz: no such manifest; stage 1 makes it" in capsys.readouterr().err
    silent = SupervisionSegment("a", "a", 0, 1, text=" ")
    SupervisionSet.from_segments([silent]).to_file("data/manifests/silent_supervisions.jsonl.gz")
    with pytest.raises(SystemExit):
        program("train_bpe").main(["--vocab-size", "14", "--train-set", "silent"])
    assert "no supervision has a text" in capsys.readouterr().err


def test_two_sizes_need_two_folders(recipe, program):
    with pytest.raises(SystemExit) as error:
        program("train_bpe").main(["--vocab-size", "14", "15", "--out", "data/lang"])
    assert error.value.code == 2


# Thai, Persian with a non-joiner, full width, an ellipsis, a fraction, decomposed accents, a ligature
RAW = [
    "\u0e19\u0e49\u0e33 \u0e17\u0e33", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\uff21\uff22 \uff11",
    "wait\u2026 what", "\u00bd cup", "cafe\u0301 e\u0301te\u0301", "\ufb01ne \u2122",
]  # fmt: skip


@pytest.mark.parametrize(
    "options", [["--token-type", "char"], ["--vocab-size", "60"], ["--vocab-size", "60", "--blank", "last"]]
)
def test_the_tokens_give_every_text_back(recipe, program, options):
    texts = [*RAW, "odd\u00a0blanks\u3000here"]
    segments = [SupervisionSegment(f"u{i}", "a", 0, 1, text=text) for i, text in enumerate(texts)]
    SupervisionSet.from_segments(segments).to_file("data/manifests/raw_supervisions.jsonl.gz")
    program("train_bpe").main([*options, "--train-set", "raw", "--out", "data/lang"])
    tokenizer = Tokenizer.load("data/lang")
    assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == [*RAW, "odd blanks here"]
    assert all(tokenizer.unk_id not in tokenizer.encode(text) for text in texts)
    assert (recipe / "data/lang/transcript_words.txt").read_text().splitlines() == [*RAW, "odd blanks here"]


def test_names_of_special_tokens_in_transcripts_are_text(recipe, program):
    text = "he <blk> said <unk> and <sos/eos>"
    segments = [SupervisionSegment(f"u{i}", "a", 0, 1, text=text) for i in range(3)]
    SupervisionSet.from_segments(segments).to_file("data/manifests/raw_supervisions.jsonl.gz")
    for options in (["--token-type", "char"], ["--vocab-size", "30"], ["--vocab-size", "30", "--blank", "last"]):
        program("train_bpe").main([*options, "--train-set", "raw", "--out", "data/lang"])
        tokenizer = Tokenizer.load("data/lang")
        named = {tokenizer.tokens.index(name) for name in ("<blk>", "<sos/eos>") if name in tokenizer.tokens}
        assert not named & set(tokenizer.encode(text))


def test_tokens_of_a_list(recipe, program, capsys):
    (recipe / "words.txt").write_text("one\ntwo\nthree\n")
    program("train_bpe").main(["--token-type", "file", "--token-list", "words.txt"])
    tokenizer = Tokenizer.load("data/lang_file")
    assert tokenizer.encode("three one") == [5, 3] and tokenizer.vocab_size == 6
    assert (recipe / "data/lang_file/tokens.txt").read_text().splitlines()[3] == "▁one 3"
    assert "data/lang_file: 6 tokens for 8 transcripts" in capsys.readouterr().out
    for options in (
        ["--token-type", "file"],
        ["--token-list", "words.txt"],
        ["--token-type", "file", "--vocab-size", "9"],
    ):
        with pytest.raises(SystemExit) as error:
            program("train_bpe").main(options)
        assert error.value.code == 2
