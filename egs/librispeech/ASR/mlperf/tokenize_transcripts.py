"""Tokenise the transcripts of JSON manifests, as NVIDIA's and DeepSpark's systems keep them.

Each entry of <name>-tokenized.json is {fname, original_duration, tokenized_transcript}.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import atomic_write, read_json
from rnnt.options import make_parser, option, parse

if TYPE_CHECKING:
    from rnnt.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenizeOptions:
    """Tokenisation."""

    manifests: list[str] = option(help="JSON manifests of convert_to_wav.py or of those systems", nonempty=True)
    bpe_model: str = option("data/lang_bpe_1023/bpe.model", "SentencePiece model")
    out: str = option("tokenized", "folder of the results")
    lower_case: bool = option(False, "convert transcripts to lower case first, for a model of lower case")


def tokenize(
    entries: list[dict[str, Any]], tokenizer: "Tokenizer", lower_case: bool, location: str
) -> list[dict[str, Any]]:
    """The tokenised entries; `UserError` on a transcript that the model can't write."""
    found = []
    for number, entry in enumerate(entries):
        try:
            text, name, duration = entry["transcript"], entry["files"][-1]["fname"], entry["original_duration"]
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{location}: entry {number} lacks {error}; it is not a manifest of convert_to_wav.py"
            ) from None
        tokens = tokenizer.encode(text.lower() if lower_case else text)
        if tokenizer.unk_id in tokens:
            raise UserError(
                f"{location}: {name}: the model can't write {text[:60]!r}; does it know lower or upper case only? "
                "see --lower-case"
            )
        found.append({"fname": name, "original_duration": duration, "tokenized_transcript": tokens})
    return found


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, TokenizeOptions), [TokenizeOptions], argv)
    from rnnt.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(options.bpe_model)
    for manifest in options.manifests:
        entries = tokenize(read_json(manifest), tokenizer, options.lower_case, manifest)
        out = Path(options.out) / f"{Path(manifest).stem}-tokenized.json"
        with atomic_write(out) as file:
            json.dump(entries, file)
        print(f"{out}: {len(entries)} transcripts")


if __name__ == "__main__":
    main()
