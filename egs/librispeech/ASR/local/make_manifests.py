"""Stage 1: lhotse manifests of the parts of LibriSpeech. The parts that begin with `train` make the set train."""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.data.audio import problem_of, use_soundfile
from rnnt.data.threads import map_in_threads
from rnnt.data.utterances import read_lines
from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.options import make_parser, option, parse
from rnnt.progress import progress


@dataclass(frozen=True)
class ManifestOptions:
    """Manifests."""

    parts: list[str] = option(help="parts of the corpus")
    corpus: str = option("data/corpus", "folder of source.json (stage 0)")
    out: str = option("data/manifests", "folder of the manifests")
    nj: int = option(1, "threads that read the headers of the audio files")


def transcripts(folder, part):
    """Yield `(FILE:LINE, line)` of the transcripts of a part."""
    paths = sorted((folder / part).rglob("*.trans.txt"))
    if not paths:
        raise UserError(f"{folder / part}: holds no *.trans.txt; remove it and run stage 0 again")
    for path in paths:
        yield from read_lines(path)


def open_utterance(folder, where, line):
    """The lhotse recording and supervision of a line; `UserError` when its audio can't be read."""
    from lhotse.recipes.librispeech import parse_utterance

    if len(line.split()) < 2:
        raise UserError(f"{where}: {line.strip()} has no transcript; get this part again (stage 0)")
    try:
        found = parse_utterance(folder, line, {})
    except Exception as error:  # lhotse and the audio libraries raise many kinds
        raise UserError(f"{where}: {problem_of(error)}; mend the file or get this part again (stage 0)") from error
    if found is None:
        raise UserError(f"{where}: the audio file {line.split()[0]}.flac is missing; get this part again (stage 0)")
    return where, *found


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, ManifestOptions), [ManifestOptions], argv)

    from rnnt.data.corpus import build_corpus

    use_soundfile()
    folder = Path(read_json(Path(options.corpus) / "source.json")["path"])
    with build_corpus(options.out) as builder:
        for part in [part for value in options.parts for part in value.split()]:
            name = "train" if part.startswith("train") else part
            opened = map_in_threads(
                lambda line, part=part: open_utterance(folder / part, *line), transcripts(folder, part), options.nj
            )
            for where, recording, supervision in progress(opened, what=part, unit="utt"):
                builder.add_recording(name, recording, where)
                builder.add_supervision(name, supervision, where)
        builder.check(options.out)
        builder.write()


if __name__ == "__main__":
    main()
