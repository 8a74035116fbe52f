"""Stage 7: n-gram models over the tokens of a BPE model, from the transcripts of the training set.

Reads LANG_DIR/bpe.model and LANG_DIR/transcript_words.txt (stage 5), writes LANG_DIR/<order>gram.arpa. Modified
Kneser-Ney smoothing. `<s>` and `</s>` stand for the ends of an utterance.
"""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse
from rnnt.progress import progress


@dataclass(frozen=True)
class NgramOptions:
    """Token n-gram."""

    lang_dir: str = option(help="folder of the BPE model and the transcripts (stage 5)")
    order: list[int] = option([2], "orders in tokens; a model each")

    def __post_init__(self):
        if not self.order or any(not 1 <= n <= 5 for n in self.order):
            raise ValueError("--order needs numbers from 1 to 5")


def read_sentences(path, split):
    """Yield `split(line)` of the lines that are not blank: nothing of the text is held in memory."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield split(line.strip())


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, NgramOptions), [NgramOptions], argv)
    from rnnt.text.ngram import estimate, write_arpa
    from rnnt.text.tokenizer import BLANK, SOS_EOS, Tokenizer

    folder = Path(options.lang_dir)
    tokenizer = Tokenizer.load(folder)
    transcripts = folder / "transcript_words.txt"
    if not transcripts.is_file():
        raise UserError(f"{transcripts}: no such file; stage 5 makes it")
    number = sum(1 for _ in read_sentences(transcripts, str.split))
    vocabulary = [piece for piece in tokenizer.pieces if piece not in (BLANK, SOS_EOS)]  # which no text holds
    for order in options.order:
        out = folder / f"{order}gram.arpa"
        sentences = read_sentences(transcripts, lambda text: [tokenizer.pieces[i] for i in tokenizer.encode(text)])
        model = estimate(progress(sentences, number, f"{order}-gram", "utt"), order, vocabulary)
        write_arpa(model, out)
        print(f"{out}: {len(model.entries)} n-grams up to order {order} from {number} transcripts")


if __name__ == "__main__":
    main()
