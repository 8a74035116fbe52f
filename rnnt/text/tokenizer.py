"""SentencePiece models as tokenizers.

Those of stage 5 have icefall's ids: `<blk>` 0, `<sos/eos>` 1, `<unk>` 2. A model without `<blk>` gets blank as one more
token after its last.
"""

from pathlib import Path

from rnnt.errors import UserError

BLANK = "<blk>"
SOS_EOS = "<sos/eos>"
UNKNOWN = "<unk>"


class Tokenizer:
    """Text to token ids and back.

    Attributes: `vocab_size` (with blank), `blank_id`, `unk_id`, `pieces` (the token of each id) and `model_path`.
    """

    def __init__(self, processor, model_path):
        self._processor = processor
        self.model_path = str(model_path)
        self.pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
        if BLANK not in self.pieces:
            self.pieces.append(BLANK)
        self.vocab_size = len(self.pieces)
        self.blank_id = self.pieces.index(BLANK)
        self.unk_id = processor.unk_id()

    @classmethod
    def load(cls, path):
        """Load `bpe.model`, or the one in the folder `path`. Raises `UserError` when it is missing or broken."""
        import sentencepiece

        path = Path(path)
        if path.is_dir():
            path = path / "bpe.model"
        if not path.is_file():
            raise UserError(f"{path}: no such BPE model; local/train_bpe.py (stage 5) makes it")
        try:
            processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise UserError(f"{path}: not a SentencePiece model ({' '.join(str(error).split())})") from None
        return cls(processor, path)

    def encode(self, text):
        """The token ids of `text`. Characters unknown to the model become `unk_id`."""
        return self._processor.encode(text, out_type=int)

    def decode(self, ids):
        """The text of token ids; blank and the start token are left out."""
        return self._processor.decode([i for i in map(int, ids) if self.pieces[i] not in (BLANK, SOS_EOS)])
