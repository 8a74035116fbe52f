"""Stage 5: a SentencePiece model, of word pieces or characters of the transcripts of the training set, or of a list.

Writes OUT/bpe.model, OUT/tokens.txt (`token id`, one a line) and OUT/transcript_words.txt. Word pieces come from a
unigram model. The ids are icefall's: `<blk>` 0, `<sos/eos>` 1, `<unk>` 2, no other special tokens. With --blank last
they are those of the MLPerf RNN-T: `<unk>` 0, no other special tokens in the model, and blank after its last token.
--token-type file takes tokens and ids from --token-list: a token a line, perhaps with its id. Tokens with the mark of a
word's beginning make words of pieces; without it each token is a word of the transcripts.
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
    token_type: str = option(
        "bpe", "what a token is; char and file take no --vocab-size", choices=["bpe", "char", "file"]
    )
    token_list: str = option("", "list of tokens, for --token-type file")
    blank: str = option("first", "id of blank; last: after --vocab-size tokens without it", choices=["first", "last"])
    manifest_dir: str = option("data/manifests", "folder of the supervision manifests (stage 1)")
    train_set: str = option("train", "name of the training set")
    out: str = option("", "folder of the model; for one vocabulary size, char and file")
    out_prefix: str = option("data/lang_bpe_", "folder of the models without the vocabulary size at its end")

    def __post_init__(self):
        if self.token_type != "bpe" and self.vocab_size:
            raise ValueError(f"--token-type {self.token_type} says how many tokens there are; leave out --vocab-size")
        if (self.token_type == "file") != bool(self.token_list):
            raise ValueError("--token-type file and --token-list FILE go together")
        if self.token_type == "bpe" and not self.vocab_size:
            raise ValueError("--vocab-size needs at least one number")
        if self.out and len(self.vocab_size) > 1:
            raise ValueError("--out holds one model; give several vocabulary sizes with --out-prefix")


def write_transcripts(options, path):
    """Write the non-empty transcripts of the training set, a line each, in the order of the manifest.

    Returns how many there are, and how many different characters they have, blanks left out.
    """
    from lhotse import SupervisionSet

    manifest = Path(options.manifest_dir) / f"{options.train_set}_supervisions.jsonl.gz"
    if not manifest.is_file():
        raise UserError(f"{manifest}: no such manifest; stage 1 makes it")
    count, characters = 0, set()
    with atomic_write(path) as file:
        for supervision in SupervisionSet.from_jsonl_lazy(manifest):
            text = " ".join((supervision.text or "").split())
            if text:
                count += 1
                characters.update(text)
                file.write(text + "\n")
        if not count:
            raise UserError(f"{manifest}: no supervision has a text; stage 1 must write transcripts")
    return count, len(characters - {" "})


def train_model(texts, characters, vocab_size, model_type="unigram", blank="first"):
    """Bytes of a SentencePiece model with at most `vocab_size` tokens, fewer when the texts are too small for it.

    texts: iterable of texts with so many different `characters`; blank: `first` puts blank and the start token into
    the model as ids 0 and 1, `last` leaves both out.
    """
    import sentencepiece

    model = io.BytesIO()
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


def write_lang(folder, options, vocab_size=None):
    """Make one folder. `bpe.model` comes last, so that a folder that has it is whole."""
    import sentencepiece

    from rnnt.text.token_list import build_model, read_token_list
    from rnnt.text.tokenizer import Tokenizer

    folder = Path(folder)
    count, characters = write_transcripts(options, folder / "transcript_words.txt")
    if options.token_type == "file":
        data = build_model(read_token_list(options.token_list))
    else:
        model_type = "char" if options.token_type == "char" else "unigram"
        # The special tokens and the mark of a word's beginning besides.
        wanted = vocab_size or characters + (4 if options.blank == "first" else 2)
        with open(folder / "transcript_words.txt", encoding="utf-8") as file:
            data = train_model(map(str.rstrip, file), characters, wanted, model_type, options.blank)
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    size = processor.get_piece_size()
    with atomic_write(folder / "tokens.txt") as file:
        file.writelines(f"{p} {i}\n" for i, p in enumerate(Tokenizer(processor, folder / "bpe.model").pieces))
    with atomic_write(folder / "bpe.model", "wb") as file:
        file.write(data)
    if vocab_size and size < vocab_size:
        print(f"{folder}: {size} tokens; the transcripts are too small for {vocab_size}")
    else:
        print(f"{folder}: {size} tokens {'for' if options.token_list else 'from'} {count} transcripts")


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, BpeOptions), [BpeOptions], argv)
    if options.token_type != "bpe":
        write_lang(options.out or f"data/lang_{options.token_type}", options)
    for vocab_size in options.vocab_size:
        write_lang(options.out or f"{options.out_prefix}{vocab_size}", options, vocab_size)


if __name__ == "__main__":
    main()
