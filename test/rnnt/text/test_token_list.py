import pytest

from rnnt.errors import UserError
from rnnt.text.token_list import build_model, read_token_list
from rnnt.text.tokenizer import Tokenizer


@pytest.fixture
def load(tmp_path):
    """`load(text of the list)` is its tokenizer."""

    def make(text):
        (tmp_path / "tokens.txt").write_text(text, encoding="utf-8")
        (tmp_path / "bpe.model").write_bytes(build_model(read_token_list(tmp_path / "tokens.txt")))
        return Tokenizer.load(tmp_path)

    return make


def test_words_or_phones_get_icefalls_ids(load):
    tokenizer = load("HH\nAH\nL\nOW\n")
    assert tokenizer.tokens == ["<blk>", "<sos/eos>", "<unk>", "▁HH", "▁AH", "▁L", "▁OW"]
    assert (tokenizer.blank_id, tokenizer.unk_id) == (0, 2)
    assert tokenizer.encode("HH AH  L OW") == [3, 4, 5, 6] and tokenizer.encode("AH X") == [4, 2]
    assert tokenizer.decode([0, 3, 4, 1, 5, 6]) == "HH AH L OW"


def test_ids_of_the_file_are_kept(load):
    """icefall's tokens.txt of a lexicon, ESPnet's list of characters, a list with blank last."""
    tokenizer = load("<eps> 0\nSIL 1\nb 3\na 2\n<UNK> 4\n#0 5\n")
    assert tokenizer.tokens == ["<blk>", "▁SIL", "▁a", "▁b", "<unk>", "#0"] and tokenizer.unk_id == 4
    assert tokenizer.encode("b a #0") == [3, 2, 4]
    tokenizer = load("<blank>\n<unk>\n<space>\na\nb\n<sos/eos>\n")
    assert tokenizer.tokens == ["<blk>", "<unk>", "▁", "a", "b", "<sos/eos>"]
    assert tokenizer.encode("ab a") == [2, 3, 4, 2, 3] and tokenizer.decode([2, 3, 4, 2, 3]) == "ab a"
    tokenizer = load("<unk>\na\nb\n<blk>\n")
    assert (tokenizer.blank_id, tokenizer.unk_id, tokenizer.vocab_size) == (3, 0, 4)
    tokenizer = load("<unk>\na\n")  # blank after the last token
    assert (tokenizer.blank_id, tokenizer.vocab_size) == (2, 3)


def test_pieces_are_as_few_as_possible(load):
    tokenizer = load("▁\n▁th\n▁the\nt\nh\ne\nse\n▁these\nm\n天\n")
    texts = [[tokenizer.tokens[i] for i in tokenizer.encode(text)] for text in ("these", "them the", "天 me", "x")]
    assert texts[0] == ["▁these"] and texts[1] == ["▁the", "m", "▁the"]
    assert texts[2] == ["▁", "天", "▁", "m", "e"] and texts[3] == ["▁", "<unk>"]
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in ("these", "them the", "天 me"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("a\nb\na\n", "line 3: a is already in line 1"),
        ("<blk> 0\na 2\n", "line 2: the id is 2, expected 1"),
        ("a 0\nb\n", "line 1: expected a token, and an id in every line or in none"),
        ("<blk>\n<unk>\n", "no token but special ones"),
        ("", "no token but special ones"),
    ],
)
def test_bad_lists_name_the_line(load, text, message):
    with pytest.raises(UserError, match=message):
        load(text)


def test_unreadable_lists(tmp_path):
    with pytest.raises(UserError, match="can't read the list of tokens"):
        read_token_list(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"\xe9\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_token_list(tmp_path / "latin")
