"""Export the sets of a recipe (stage 1) as Kaldi data directories OUT/<set>."""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import counted
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import SetOptions, resolve_sets
from rnnt.prepare.corpus import manifest_paths


@dataclass(frozen=True)
class ExportOptions(SetOptions):
    """Export."""

    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    out: str = option("data/kaldi", "folder of the Kaldi data directories")
    pipes: bool = option(True, "name audio that is not WAV by a command of ffmpeg, for Kaldi's programs read WAV only")


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ExportOptions), [ExportOptions], argv)
    from lhotse import Recording, SupervisionSegment

    from rnnt.data.manifest import read_items
    from rnnt.prepare.kaldi import write_data_dir

    for name in resolve_sets(options, options.manifest_dir):
        paths = manifest_paths(options.manifest_dir, name)
        recordings = [item for _, item in read_items(paths[0], 1, Recording.from_dict)]
        supervisions = [item for _, item in read_items(paths[1], 1, SupervisionSegment.from_dict)]
        folder = Path(options.out) / name
        write_data_dir(folder, recordings, supervisions, options.pipes)
        print(f"{folder}: {counted(len(supervisions), 'utterance')}")


if __name__ == "__main__":
    main()
