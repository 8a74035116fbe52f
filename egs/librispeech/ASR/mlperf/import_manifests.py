"""Import JSON manifests of NVIDIA's and DeepSpark's systems as manifests of stage 1: use data that they prepared.

    import_manifests.py --sets train=librispeech-train-clean-100-wav.json train=... dev-clean=...json --audio-dir DIR

A set may have several manifests. Of an entry with several files the last is used, as those systems do. Tokenised
transcripts (tokenize_transcripts.py) are turned into text by --bpe-model. Continue with prepare.sh --stage 3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.options import make_parser, option, parse

if TYPE_CHECKING:
    from rnnt.prepare.records import UtteranceRecord
    from rnnt.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ImportOptions:
    """Import."""

    sets: list[str] = option(help="SET=FILE.json, any number", nonempty=True)
    audio_dir: str = option(".", "folder that the names of files are relative to")
    bpe_model: str = option("", "SentencePiece model of tokenised transcripts")
    upper_case: bool = option(False, "write transcripts in upper case, as the corpus has them")
    out: str = option("data/manifests", "folder of the manifests")
    nj: int = option(1, "threads that read the headers of the audio files", minimum=1, maximum=1024)


def parse_sets(words: list[str]) -> dict[str, list[str]]:
    """`["train=a.json", "train=b.json"]` -> `{"train": ["a.json", "b.json"]}`."""
    sets: dict[str, list[str]] = {}
    for word in words:
        name, mark, path = word.partition("=")
        if not (mark and name and path):
            raise UserError(f"--sets: {word!r} is not SET=FILE.json")
        sets.setdefault(name, []).append(path)
    return sets


def read_entries(
    path: str, audio_dir: str, tokenizer: "Tokenizer | None", upper_case: bool
) -> "Iterator[UtteranceRecord]":
    """Yield a `UtteranceRecord` for each entry of a manifest; `UserError` names an entry that is not one."""
    from rnnt.prepare.records import UtteranceRecord

    for number, entry in enumerate(read_json(path)):
        try:
            name = entry["fname"] if "fname" in entry else entry["files"][-1]["fname"]
            text = entry.get("transcript")
            tokens = entry["tokenized_transcript"] if text is None else None
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise UserError(f"{path}: entry {number} lacks {error}; is it such a manifest?") from None
        if text is None:
            if tokenizer is None:
                raise UserError(f"{path}: transcripts are tokens; --bpe-model names the model that made them")
            text = tokenizer.decode(tokens)
        audio = Path(audio_dir) / name
        if not audio.is_file():
            raise UserError(f"{path}: entry {number}: {audio}: no such file; --audio-dir names the folder above it")
        speaker = audio.stem.split("-")[0] if "-" in audio.stem else None
        yield UtteranceRecord(
            id=audio.stem,
            recording=audio.stem,
            audio=str(audio.resolve()),
            text=(text.upper() if upper_case else text).strip(),
            location=f"{path}:{number}",
            speaker=speaker,
        )


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ImportOptions), [ImportOptions], argv)
    from rnnt.prepare.corpus import build_corpus
    from rnnt.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(options.bpe_model) if options.bpe_model else None
    sets = parse_sets(options.sets)
    with build_corpus(options.out) as builder:
        for name, paths in sets.items():
            for path in paths:
                for record in read_entries(path, options.audio_dir, tokenizer, options.upper_case):
                    builder.add_utterance(name, record)
        builder.check(options.out, options.nj)
        builder.write()


if __name__ == "__main__":
    main()
