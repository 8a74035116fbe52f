"""Export the sets of a recipe (stage 1) as Kaldi data directories OUT/<set>."""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class ExportOptions:
    """Export."""

    sets: list[str] = option(help="names of the sets")
    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    out: str = option("data/kaldi", "folder of the Kaldi data directories")
    pipes: bool = option(True, "name audio that is no WAV by a command of ffmpeg, for Kaldi's programs read WAV only")


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, ExportOptions), [ExportOptions], argv)
    from lhotse import RecordingSet, SupervisionSet

    from rnnt.data.corpus import manifest_paths
    from rnnt.data.kaldi import write_folder

    for name in [word for value in options.sets for word in value.split()]:
        paths = manifest_paths(options.manifest_dir, name)
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: no such manifest; stage 1 makes it")
        recordings, supervisions = RecordingSet.from_file(paths[0]), SupervisionSet.from_file(paths[1])
        folder = Path(options.out) / name
        write_folder(folder, list(recordings), list(supervisions), options.pipes)
        print(f"{folder}: {len(supervisions)} utterances")


if __name__ == "__main__":
    main()
