"""Stage 5: a SentencePiece model, of word pieces or characters of the transcripts of the training set, or of a list.

Writes OUT/bpe.model, OUT/tokens.txt (`token id`, one per line) and OUT/transcript_words.txt. Word pieces come from a
unigram model. The ids are icefall's: `<blk>` 0, `<sos/eos>` 1, `<unk>` 2, no other special tokens. With --blank last
they are those of the MLPerf RNN-T: `<unk>` 0, no other special tokens in the model, and blank after its last token.
Nothing of the transcripts is rewritten but blanks, each of which becomes one space; names of special tokens are text.
--token-type file takes tokens and ids from --token-list: one token per line, perhaps with its id. Tokens with the mark
of a word's beginning make words of pieces; without it each token is a word of the transcripts.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError, one_line
from rnnt.files import atomic_write
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import TrainSetOptions, VocabularyOptions, first_set, read_set_names
from rnnt.prepare.corpus import manifest_paths


@dataclass(frozen=True)
class BpeOptions(TrainSetOptions, VocabularyOptions):
    """BPE model."""

    manifest_dir: str = option("data/manifests", "folder of the supervision manifests (stage 1)")
    out: str = option("", "folder of the model; for one vocabulary size, char and file")
    out_prefix: str = option("data/lang_bpe_", "folder of the models without the vocabulary size at its end")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token_type != "bpe" and self.vocab_size:
            raise ValueError(f"--token-type {self.token_type} says how many tokens there are; leave out --vocab-size")
        if self.token_type == "bpe" and not self.vocab_size:
            raise ValueError("--vocab-size needs at least one number")
        if self.out and len(self.vocab_size) > 1:
            raise ValueError("--out holds one model; give several vocabulary sizes with --out-prefix")


def training_set(options: BpeOptions) -> str:
    """The name of the training set: that of stage 1, or train where it left no list of sets."""
    if options.train_set or not (Path(options.manifest_dir) / "sets").is_file():
        return options.train_set or "train"
    return first_set("train", read_set_names(options.manifest_dir))


def write_transcripts(options: BpeOptions, path: Path) -> tuple[int, int]:
    """Write the non-empty transcripts of the training set, one per line, in the order of the manifest.

    Returns:
        How many there are, and how many different characters they have, blanks left out.
    """
    from rnnt.data.manifest import read_items
    from rnnt.text.tokenizer import single_spaces

    _, manifest = manifest_paths(options.manifest_dir, training_set(options))
    count, characters = 0, set[str]()
    with atomic_write(path) as file:
        for _, supervision in read_items(manifest, 1):
            text = single_spaces(supervision.get("text") or "")
            if text:
                count += 1
                characters.update(text)
                file.write(text + "\n")
        if not count:
            raise UserError(f"{manifest}: no supervision has a text; stage 1 must write transcripts")
    return count, len(characters - {" "})


def train_model(
    texts: Iterable[str], characters: int, vocab_size: int, model_type: str = "unigram", blank: str = "first"
) -> bytes:
    """Train a SentencePiece model with at most `vocab_size` tokens, fewer when the texts are too small for it.

    Args:
        texts: what it is trained on.
        characters: how many different ones the texts have.
        blank: `first` puts blank and the start token into the model as ids 0 and 1, `last` leaves both out.
    """
    import sentencepiece

    from rnnt.text.tokenizer import BLANK, SOS_EOS

    model = io.BytesIO()
    special = [BLANK, SOS_EOS] if blank == "first" else []
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            control_symbols=special,  # unlike user-defined symbols, they are not found in texts
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
            f"a vocabulary of {vocab_size} tokens can't be trained: {one_line(error)}; the texts have "
            f"{characters} different characters, choose at least {characters + len(special) + 2}"
        ) from None
    return model.getvalue()


def write_lang(folder: str | Path, options: BpeOptions, vocab_size: int | None = None) -> None:
    """Make one folder. `bpe.model` comes last, so that a folder that has it is complete."""
    import sentencepiece

    from rnnt.text.token_list import build_model, read_token_list
    from rnnt.text.tokenizer import Tokenizer

    folder = Path(folder)
    count, characters = write_transcripts(options, folder / "transcript_words.txt")
    if options.token_type == "file":
        data = build_model(read_token_list(options.token_list))
    else:
        model_type = "char" if options.token_type == "char" else "unigram"
        # Also the special tokens and the mark of a word's beginning.
        wanted = vocab_size or characters + (4 if options.blank == "first" else 2)
        with open(folder / "transcript_words.txt", encoding="utf-8") as file:
            data = train_model(map(str.rstrip, file), characters, wanted, model_type, options.blank)
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    size = processor.get_piece_size()
    with atomic_write(folder / "tokens.txt") as file:
        file.writelines(f"{p} {i}\n" for i, p in enumerate(Tokenizer(processor, folder / "bpe.model").tokens))
    with atomic_write(folder / "bpe.model", "wb") as file:
        file.write(data)
    if vocab_size and size < vocab_size:
        print(f"{folder}: {size} tokens; the transcripts are too small for {vocab_size}")
    else:
        print(f"{folder}: {size} tokens {'for' if options.token_list else 'from'} {count} transcripts")


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, BpeOptions), [BpeOptions], argv)
    if options.token_type != "bpe":
        write_lang(options.out or f"data/lang_{options.token_type}", options)
    for vocab_size in options.vocab_size:
        write_lang(options.out or f"{options.out_prefix}{vocab_size}", options, vocab_size)


if __name__ == "__main__":
    main()
