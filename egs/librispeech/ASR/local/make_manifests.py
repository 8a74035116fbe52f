"""Stage 1: lhotse manifests of the parts of LibriSpeech. The parts that begin with `train` make the set train."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from options import PartOptions

from rnnt.cli import program
from rnnt.data.audio import set_up_lhotse
from rnnt.errors import UserError, one_line
from rnnt.files import read_json
from rnnt.options import make_parser, option, parse
from rnnt.prepare.threads import map_in_threads
from rnnt.progress import progress
from rnnt.text.lines import read_lines


@dataclass(frozen=True)
class ManifestOptions(PartOptions):
    """Manifests."""

    corpus: str = option("data/corpus", "folder of source.json (stage 0)")
    out: str = option("data/manifests", "folder of the manifests")
    nj: int = option(1, "threads that read the headers of the audio files", minimum=1, maximum=1024)


def transcripts(folder: Path, part: str) -> Iterator[tuple[str, str]]:
    """Yield `(FILE:LINE, line)` of the transcripts of a part."""
    paths = sorted((folder / part).rglob("*.trans.txt"))
    if not paths:
        raise UserError(f"{folder / part}: holds no *.trans.txt; remove it and run stage 0 again")
    for path in paths:
        yield from read_lines(path)


def open_utterance(folder: Path, located_line: tuple[str, str]) -> tuple[str, Any, Any]:
    """The `FILE:LINE`, lhotse recording and supervision of a line; `UserError` when its audio can't be read."""
    from lhotse.recipes.librispeech import parse_utterance

    location, line = located_line
    if len(line.split()) < 2:
        raise UserError(f"{location}: {line.strip()} has no transcript; get this part again (stage 0)")
    try:
        found = parse_utterance(folder, line, {})
    except Exception as error:  # lhotse and the audio libraries raise many kinds
        raise UserError(f"{location}: {one_line(error)}; fix the file or get this part again (stage 0)") from error
    if found is None:
        raise UserError(f"{location}: the audio file {line.split()[0]}.flac is missing; get this part again (stage 0)")
    return location, *found


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ManifestOptions), [ManifestOptions], argv)

    from rnnt.prepare.corpus import build_corpus

    set_up_lhotse()
    folder = Path(read_json(Path(options.corpus) / "source.json")["path"])
    with build_corpus(options.out) as builder:
        for part in options.parts:
            name = "train" if part.startswith("train") else part
            open_line = functools.partial(open_utterance, folder / part)
            opened = map_in_threads(open_line, transcripts(folder, part), options.nj)
            for location, recording, supervision in progress(opened, what=part, unit="utt"):
                builder.add_recording(name, recording, location)
                builder.add_supervision(name, supervision, location)
        builder.check(options.out, options.nj)
        builder.write()


if __name__ == "__main__":
    main()
