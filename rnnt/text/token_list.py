"""A SentencePiece model made of a list of tokens that the user gives, such as another toolkit's tokens.txt.

A line of the list is a token, perhaps followed by its id. The order of the lines, or the ids, are the ids of the
model. Blank may be called `<blk>`, `<blank>` or `<eps>`, the unknown token `<unk>` or `<UNK>`; a list without both gets
icefall's `<blk>` 0, `<sos/eos>` 1, `<unk>` 2 in front. `#0`, `#1`, ... (of a lexicon) are kept, and never used.

Where a token begins with SentencePiece's mark of the start of a word, `▁`, or is `<space>`, the tokens are pieces of
words: a text is split into as few as possible. Otherwise each token is a word or a phone, and transcripts separate them
by spaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rnnt.errors import UserError
from rnnt.text.tokenizer import BLANK, SOS_EOS, UNKNOWN, WORD_START

ALIASES = {"<blank>": BLANK, "<eps>": BLANK, "<UNK>": UNKNOWN, "<space>": WORD_START}
NORMAL, UNKNOWN_TYPE, CONTROL = 1, 2, 3  # of sentencepiece_model.proto
UNIGRAM, WORD = 1, 3


def read_token_list(path: str | Path) -> list[str]:
    """The tokens of the list at `path`, in the order of their ids.

    Raises:
        UserError: when the file can't be read, or naming the line that is wrong.
    """
    rows: list[tuple[int, list[str]]] = []
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                fields = line.split()
                if fields:
                    rows.append((number, fields))
    except OSError as error:
        raise UserError(f"{path}: can't read the list of tokens: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; convert it first, for example with iconv") from None
    with_ids = bool(rows) and all(len(fields) == 2 and fields[1].isdecimal() for _, fields in rows)
    tokens: list[str] = []
    seen: dict[str, int] = {}  # the line of each token
    for number, fields in sorted(rows, key=lambda row: int(row[1][1])) if with_ids else rows:
        if len(fields) != 1 + with_ids:
            raise UserError(f"{path}: line {number}: expected a token, and an id in every line or in none")
        if with_ids and int(fields[1]) != len(tokens):
            raise UserError(f"{path}: line {number}: the id is {fields[1]}, expected {len(tokens)}; ids have no gaps")
        token = ALIASES.get(fields[0], fields[0])
        if token in seen:
            raise UserError(f"{path}: line {number}: {fields[0]} is already in line {seen[token]}")
        seen[token] = number
        tokens.append(token)
    if BLANK not in seen and UNKNOWN not in seen:
        tokens = [BLANK, *([] if SOS_EOS in seen else [SOS_EOS]), UNKNOWN, *tokens]
    elif UNKNOWN not in seen:
        tokens.append(UNKNOWN)
    if not any(_is_normal(token) for token in tokens):
        raise UserError(f"{path}: the list has no token but special ones")
    return tokens


def _is_normal(token: str) -> bool:
    return token not in (BLANK, SOS_EOS, UNKNOWN) and not re.fullmatch(r"#\d+", token)


def build_model(tokens: Sequence[str]) -> bytes:
    """Bytes of the SentencePiece model with these tokens, as `read_token_list` gives them."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # made when it is imported
    in_pieces = any(token.startswith(WORD_START) for token in tokens)
    for token in tokens:
        normal = _is_normal(token)
        piece = model.pieces.add()
        # The best path is the one with the highest sum of scores: the one with the fewest pieces.
        piece.score = -1.0 if normal else 0.0
        piece.type = NORMAL if normal else UNKNOWN_TYPE if token == UNKNOWN else CONTROL
        piece.piece = WORD_START + token if normal and not in_pieces else token
    spec = model.trainer_spec
    spec.model_type = UNIGRAM if in_pieces else WORD
    spec.vocab_size = len(tokens)
    spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = tokens.index(UNKNOWN), -1, -1, -1
    model.normalizer_spec.name = "identity"
    return model.SerializeToString(deterministic=True)
