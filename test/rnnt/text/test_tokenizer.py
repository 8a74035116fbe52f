import pytest

from rnnt.errors import UserError
from rnnt.text.tokenizer import Tokenizer


def test_ids_are_icefalls(toy):
    tokenizer = Tokenizer.load(toy / "bpe.model")
    assert tokenizer.tokens[:3] == ["<blk>", "<sos/eos>", "<unk>"]
    assert (tokenizer.blank_id, tokenizer.unk_id) == (0, 2)
    assert tokenizer.vocab_size == len(tokenizer.tokens)


def test_encode_and_decode_are_inverse(toy):
    tokenizer = Tokenizer.load(toy)
    ids = tokenizer.encode("three one two")
    assert all(2 < i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == "three one two"
    assert tokenizer.encode("") == []


def test_decode_leaves_out_blank_and_start(toy):
    tokenizer = Tokenizer.load(toy)
    ids = tokenizer.encode("one")
    assert tokenizer.decode([0, *ids, 1, 0]) == "one"


def test_unknown_characters_become_unk(toy):
    tokenizer = Tokenizer.load(toy)
    assert tokenizer.unk_id in tokenizer.encode("one 9")


def test_a_model_without_blank_gets_it_as_its_last_token(toy, tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(toy / "text"), model_prefix=str(tmp_path / "bpe"), vocab_size=14, unk_id=0, bos_id=-1, eos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.unk_id == 0 and tokenizer.tokens[0] == "<unk>"
    assert tokenizer.blank_id == tokenizer.vocab_size - 1 == len(tokenizer.tokens) - 1
    ids = tokenizer.encode("three one two")
    assert min(ids) > 0 and max(ids) < tokenizer.blank_id
    assert tokenizer.decode([tokenizer.blank_id, *ids, tokenizer.blank_id]) == "three one two"


def sentencepiece_model(path, texts, **options):
    """A tokenizer as other toolkits train it: SentencePiece's normalisation, special tokens found in texts."""
    import sentencepiece

    path.parent.mkdir(exist_ok=True)
    given = {"vocab_size": 60, "unk_id": 2, "bos_id": -1, "eos_id": -1, "hard_vocab_limit": False, "minloglevel": 2}
    more = {"model_type": "char", "character_coverage": 1.0, **options}
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=file, **given, **more)
    return Tokenizer.load(path)


def test_names_of_special_tokens_in_a_text_are_never_their_ids(toy, tmp_path):
    special = ["<blk>", "<sos/eos>"]
    found_in_texts = sentencepiece_model(tmp_path / "m.model", ["he said blk s/e"], user_defined_symbols=special)
    for tokenizer in (found_in_texts, Tokenizer.load(toy)):
        for text in ("he <blk> said", "<sos/eos> he", "a<blk>b"):
            ids = tokenizer.encode(text)
            assert 0 not in ids and 1 not in ids and 2 in ids


def test_blanks_of_any_kind_are_single_spaces(toy):
    tokenizer = Tokenizer.load(toy)
    assert tokenizer.encode("\u3000one\u00a0two \t three\u2003") == tokenizer.encode("one two three")
    assert tokenizer.is_faithful_to("one\u00a0 two") and tokenizer.is_faithful_to("one 9")


def test_a_model_that_rewrites_texts_is_noticed(tmp_path):
    tokenizer = sentencepiece_model(tmp_path / "m.model", ["wait... what", "cup 1/2"])
    assert tokenizer.is_faithful_to("wait what") and not tokenizer.is_faithful_to("wait\u2026 what")


def test_missing_model_names_file_and_remedy(tmp_path):
    with pytest.raises(UserError, match=r"bpe\.model: no such BPE model.*stage 5"):
        Tokenizer.load(tmp_path)


def test_broken_model_is_refused(tmp_path):
    (tmp_path / "bpe.model").write_bytes(b"not a model")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        Tokenizer.load(tmp_path)
