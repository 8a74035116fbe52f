"""Stage 5: train a SentencePiece model, of word pieces or of characters, on the transcripts of the training set.

Writes OUT/bpe.model, OUT/tokens.txt (`token id`, one a line) and OUT/transcript_words.txt. Word pieces come from a
unigram model. The ids are icefall's: `<blk>` 0, `<sos/eos>` 1, `<unk>` 2, no other special tokens. With --blank last
they are those of the MLPerf RNN-T: `<unk>` 0, no other special tokens in the model, and blank after its last token.
"""

import io
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import atomic_write
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class BpeOptions:
    """BPE model."""

    vocab_size: list[int] = option([], "numbers of tokens, special ones included; a model each")
    token_type: str = option("bpe", "what a token is; char takes no --vocab-size", choices=["bpe", "char"])
    blank: str = option("first", "id of blank; last: after --vocab-size tokens without it", choices=["first", "last"])
    manifest_dir: str = option("data/manifests", "folder of the supervision manifests (stage 1)")
    train_set: str = option("train", "name of the training set")
    out: str = option("", "folder of the model; for one vocabulary size, and for char")
    out_prefix: str = option("data/lang_bpe_", "folder of the models without the vocabulary size at its end")

    def __post_init__(self):
        if self.token_type == "char" and self.vocab_size:
            raise ValueError("--token-type char: the characters are the tokens; leave out --vocab-size")
        if self.token_type == "bpe" and not self.vocab_size:
            raise ValueError("--vocab-size needs at least one number")
        if self.out and len(self.vocab_size) > 1:
            raise ValueError("--out holds one model; give several vocabulary sizes with --out-prefix")


def read_transcripts(options):
    """The non-empty transcripts of the training set, in the order of the manifest."""
    from lhotse import SupervisionSet

    path = Path(options.manifest_dir) / f"{options.train_set}_supervisions.jsonl.gz"
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; stage 1 makes it")
    texts = [" ".join((s.text or "").split()) for s in SupervisionSet.from_file(path)]
    texts = [text for text in texts if text]
    if not texts:
        raise UserError(f"{path}: no supervision has a text; stage 1 must write transcripts")
    return texts


def count_characters(texts):
    """The number of different characters, blanks left out."""
    return len(set("".join(texts)) - {" "})


def train_model(texts, vocab_size, model_type="unigram", blank="first"):
    """Bytes of a SentencePiece model with at most `vocab_size` tokens, fewer when the texts are too small for it.

    blank: `first` puts blank and the start token into the model as ids 0 and 1, `last` leaves both out.
    """
    import sentencepiece

    model = io.BytesIO()
    characters = count_characters(texts)
    special = ["<blk>", "<sos/eos>"] if blank == "first" else []
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            user_defined_symbols=special,
            unk_id=len(special),
            bos_id=-1,
            eos_id=-1,
            character_coverage=1.0,
            input_sentence_size=100_000_000,
            max_sentence_length=1_000_000,
            hard_vocab_limit=False,
            num_threads=1,  # the sums of several threads come in no fixed order
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"a vocabulary of {vocab_size} tokens can't be trained: {' '.join(str(error).split())}; the texts have "
            f"{characters} different characters, choose at least {characters + len(special) + 2}"
        ) from None
    return model.getvalue()


def write_lang(folder, texts, vocab_size, model_type="unigram", blank="first"):
    """Train and write one folder. `bpe.model` comes last, so that a folder that has it is whole."""
    import sentencepiece

    from rnnt.text.tokenizer import Tokenizer

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = train_model(texts, vocab_size, model_type, blank)
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    size = processor.get_piece_size()
    pieces = Tokenizer(processor, folder / "bpe.model").pieces
    with atomic_write(folder / "transcript_words.txt") as file:
        file.writelines(text + "\n" for text in texts)
    with atomic_write(folder / "tokens.txt") as file:
        file.writelines(f"{piece} {i}\n" for i, piece in enumerate(pieces))
    with atomic_write(folder / "bpe.model", "wb") as file:
        file.write(data)
    if size < vocab_size:
        print(f"{folder}: {size} tokens; the transcripts are too small for {vocab_size}")
    else:
        print(f"{folder}: {size} tokens from {len(texts)} transcripts")


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, BpeOptions), [BpeOptions], argv)
    texts = read_transcripts(options)
    if options.token_type == "char":
        # The special tokens and the mark of a word's beginning besides.
        size = count_characters(texts) + (4 if options.blank == "first" else 2)
        write_lang(options.out or "data/lang_char", texts, size, "char", options.blank)
    for vocab_size in options.vocab_size:
        write_lang(options.out or f"{options.out_prefix}{vocab_size}", texts, vocab_size, blank=options.blank)


if __name__ == "__main__":
    main()
