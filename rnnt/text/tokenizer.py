"""SentencePiece models as tokenizers.

Those of stage 5 have icefall's ids: `<blk>` 0, `<sos/eos>` 1, `<unk>` 2. A model without `<blk>` gets blank as one more
token after its last.

What a text is: words with one space between them (`single_spaces`), in the characters that it is written in. Models of
stage 5 change nothing else, so that the tokens give the text back; those made elsewhere may rewrite it (SentencePiece's
default turns full-width letters, ligatures and decomposed accents into others).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.errors import UserError, one_line

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

BLANK = "<blk>"
SOS_EOS = "<sos/eos>"
UNKNOWN = "<unk>"
WORD_START = "\u2581"  # SentencePiece's mark before the first piece of a word


def single_spaces(text: str) -> str:
    """The words of a text with one space between them: blanks of any kind (U+00A0, U+3000, tabs) become spaces."""
    return " ".join(text.split())


class Tokenizer:
    """Text to token ids and back.

    Attributes:
        vocab_size: with blank.
        blank_id: the id of blank.
        unk_id: the id of the unknown token.
        tokens: the token of each id.
        model_path: the file of the SentencePiece model.
    """

    def __init__(self, processor: SentencePieceProcessor, model_path: str | Path) -> None:
        self._processor = processor
        self.model_path = str(model_path)
        self.tokens: list[str] = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
        if BLANK not in self.tokens:
            self.tokens.append(BLANK)
        self.vocab_size = len(self.tokens)
        self.blank_id = self.tokens.index(BLANK)
        self.unk_id: int = processor.unk_id()
        self._silent = {i for i, token in enumerate(self.tokens) if token in (BLANK, SOS_EOS)}

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Load a SentencePiece model.

        Args:
            path: the model, or the folder with `bpe.model`.

        Raises:
            UserError: when it is missing or broken.
        """
        import sentencepiece

        path = Path(path)
        if path.is_dir():
            path = path / "bpe.model"
        if not path.is_file():
            raise UserError(f"{path}: no such BPE model; local/train_bpe.py (stage 5) makes it")
        try:
            processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise UserError(f"{path}: not a SentencePiece model ({one_line(error)})") from None
        return cls(processor, path)

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`. Characters unknown to the model become `unk_id`.

        Blank and the start token are never among them: where a model made elsewhere finds their names in a text, they
        are unknown to it.
        """
        ids: list[int] = self._processor.encode(single_spaces(text), out_type=int)
        return [self.unk_id if i in self._silent else i for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids; blank and the start token are left out."""
        return self._processor.decode([i for i in map(int, ids) if i not in self._silent])

    def pieces(self) -> list[tuple[str, float]]:
        """The pieces of the SentencePiece model with their scores, in its order."""
        get = self._processor
        return [(get.id_to_piece(i), get.get_score(i)) for i in range(get.get_piece_size())]

    def is_faithful_to(self, text: str) -> bool:
        """Whether the tokens of a text give it back, but for characters that the model does not know."""
        ids = self.encode(text)
        return self.unk_id in ids or self.decode(ids) == single_spaces(text)
