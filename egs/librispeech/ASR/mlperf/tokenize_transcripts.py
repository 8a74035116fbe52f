"""Tokenised transcripts as JSON, as NVIDIA's and DeepSpark's systems keep them, from their JSON manifests.

Each entry of <name>-tokenized.json is {fname, original_duration, tokenized_transcript}.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import atomic_write, read_json
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class TokenizeOptions:
    """Tokenisation."""

    manifests: list[str] = option(help="JSON manifests of convert_to_wav.py or of those systems")
    bpe_model: str = option("data/lang_bpe_1023/bpe.model", "SentencePiece model")
    out: str = option("tokenized", "folder of the results")
    lower_case: bool = option(False, "write transcripts in lower case before, as a model of lower case needs")


def tokenize(entries, tokenizer, lower_case, where):
    """The tokenised entries; `UserError` on a transcript that the model can't write."""
    found = []
    for number, entry in enumerate(entries):
        try:
            text, name, duration = entry["transcript"], entry["files"][-1]["fname"], entry["original_duration"]
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(f"{where}: entry {number} lacks {error}; it is no manifest of convert_to_wav.py") from None
        tokens = tokenizer.encode(text.lower() if lower_case else text)
        if tokenizer.unk_id in tokens:
            raise UserError(
                f"{where}: {name}: the model can't write {text[:60]!r}; does it know lower or upper case only? "
                "see --lower-case"
            )
        found.append({"fname": name, "original_duration": duration, "tokenized_transcript": tokens})
    return found


@program
def main(argv=None):
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
