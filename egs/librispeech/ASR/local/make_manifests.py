"""Stage 1: lhotse manifests of the parts of LibriSpeech. The parts that begin with `train` make the set train."""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class ManifestOptions:
    """Manifests."""

    parts: list[str] = option(help="parts of the corpus")
    corpus: str = option("data/corpus", "folder of source.json (stage 0)")
    out: str = option("data/manifests", "folder of the manifests")
    nj: int = option(1, "threads that read the headers of the audio files")


def read_part(folder, part, num_jobs):
    """The lhotse recordings and supervisions of one part, as lists."""
    from lhotse.recipes import prepare_librispeech

    if not next((folder / part).rglob("*.trans.txt"), None):
        raise UserError(f"{folder / part}: holds no *.trans.txt; remove it and run stage 0 again")
    try:
        manifests = prepare_librispeech(folder, dataset_parts=part, num_jobs=num_jobs)[part]
    except Exception as error:  # lhotse and the audio libraries raise many kinds
        problem = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{folder / part}: {problem}; mend the file or get this part again (stage 0)") from error
    return list(manifests["recordings"]), list(manifests["supervisions"])


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, ManifestOptions), [ManifestOptions], argv)
    from lhotse.audio import set_current_audio_backend

    from rnnt.data.corpus import write_manifests, write_set_names

    set_current_audio_backend("LibsndfileBackend")  # lhotse's search for one takes longer than reading a header
    folder = Path(read_json(Path(options.corpus) / "source.json")["path"])
    sets = {}
    for part in [part for value in options.parts for part in value.split()]:
        recordings, supervisions = sets.setdefault("train" if part.startswith("train") else part, ([], []))
        for items, more in zip((recordings, supervisions), read_part(folder, part, options.nj)):
            items += more
    for name, (recordings, supervisions) in sets.items():
        write_manifests(options.out, name, recordings, supervisions)
    write_set_names(options.out, sets)


if __name__ == "__main__":
    main()
