"""Stage 7: n-gram models over the tokens of a BPE model, from the transcripts of the training set or another text.

Reads LANG_DIR/bpe.model and LANG_DIR/transcript_words.txt (stage 5), writes LANG_DIR/<order>gram.arpa. With --text FILE
the text is that of FILE, one sentence per line, and the model is LANG_DIR/<FILE>-<order>gram.arpa. With --unit word it
is over words, for --word-lm, and named word-<order>gram.arpa. Modified Kneser-Ney smoothing. `<s>` and `</s>` stand for
the ends of a sentence. All counts are held in memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError, counted
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import ngram_orders
from rnnt.progress import progress
from rnnt.text.lines import read_lines


@dataclass(frozen=True)
class NgramOptions:
    """Token n-gram."""

    lang_dir: str = option(help="folder of the BPE model and the transcripts (stage 5)")
    text: str = option("", "text, .gz or plain, instead of the transcripts, one sentence per line written as they are")
    out: str = option("", "folder of the models (default: --lang-dir)")
    unit: str = option("token", "unit of the n-grams", choices=["token", "word"])
    order: list[int] = ngram_orders()


def read_sentences(path: Path, split: Callable[[str], list[str]]) -> Iterator[list[str]]:
    """Yield `split(line)` of the lines that are not blank: nothing of the text is held in memory."""
    for _, line in read_lines(path):
        yield split(line.strip())


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, NgramOptions), [NgramOptions], argv)
    from rnnt.text.ngram import estimate, write_arpa
    from rnnt.text.tokenizer import BLANK, SOS_EOS, Tokenizer

    folder = Path(options.lang_dir)
    tokenizer = Tokenizer.load(folder)
    source, remedy = folder / "transcript_words.txt", "run stage 5 again"
    prefix = ""
    if options.text:
        source, remedy = Path(options.text), "give another --text"
        prefix = f"{source.name.removesuffix('.gz').removesuffix('.txt')}-"
    if not source.is_file():
        raise UserError(f"{source}: no such file; {remedy}")
    number = sum(1 for _ in read_sentences(source, str.split))
    if not number:
        raise UserError(f"{source}: the file holds no text; {remedy}")
    of_words = options.unit == "word"
    prefix += "word-" * of_words
    # No text holds the two that are left out.
    vocabulary = [] if of_words else [token for token in tokenizer.tokens if token not in (BLANK, SOS_EOS)]

    def tokens_of(text: str) -> list[str]:
        return [tokenizer.tokens[i] for i in tokenizer.encode(text)]

    for order in options.order:
        out = Path(options.out or folder) / f"{prefix}{order}gram.arpa"
        sentences = read_sentences(source, str.split if of_words else tokens_of)
        model = estimate(progress(sentences, number, f"{order}-gram", "line"), order, vocabulary)
        write_arpa(model, out)
        print(f"{out}: {len(model.entries)} n-grams up to order {order} from {counted(number, 'line')} of text")


if __name__ == "__main__":
    main()
