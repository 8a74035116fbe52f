"""Stage 2: the manifest of a folder of recordings without transcripts, such as noise or music.

Takes all audio files below NOISE_DIR, in any format that is read elsewhere. Writes OUT/noise_recordings.jsonl.gz. Each
file is read to its end: what is truncated, damaged, has several channels or samples that are no numbers is reported and
left out, for training may read any part of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.cli import program
from rnnt.data.sound import audio_files
from rnnt.errors import UserError
from rnnt.files import atomic_path
from rnnt.options import make_parser, option, parse
from rnnt.prepare.corpus import manifest_paths
from rnnt.prepare.threads import map_in_threads
from rnnt.progress import progress


@dataclass(frozen=True)
class NoiseOptions:
    """Noise."""

    noise_dir: str = option(help="folder of the recordings")
    out: str = option("data/noise_manifests", "folder of the manifest")
    nj: int = option(1, "threads that read the audio files", minimum=1, maximum=1024)


def open_file(path: Path, name: str) -> Any:
    """The lhotse `Recording` of a file that was read to its end, or the `UserError` that says what is wrong with it."""
    from rnnt.prepare.records import open_audio, recording_of, utf8_path

    try:
        utf8_path(path, "noise")
        with open_audio(path, str(path)) as file:
            recording = recording_of(file, name, path)
            for _ in file.blocks():
                pass
            return recording
    except UserError as error:
        return error


def free_names(names: Iterable[str]) -> list[str]:
    """The names, those that were there before followed by a number."""
    taken: dict[str, None] = {}
    for stem in names:
        name, number = stem, 1
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken[name] = None
    return list(taken)


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, NoiseOptions), [NoiseOptions], argv)
    from lhotse import RecordingSet

    folder = Path(options.noise_dir).resolve()
    paths = audio_files(folder)
    names = free_names("-".join(path.relative_to(folder).with_suffix("").parts) for path in paths)
    opened = map_in_threads(lambda work: open_file(*work), zip(paths, names), options.nj)
    recordings = []
    for item in progress(opened, total=len(paths), what="noise", unit="file"):
        if isinstance(item, UserError):
            print(f"warning: {item}; left out")
        else:
            recordings.append(item)
    if not recordings:
        raise UserError(f"{options.noise_dir}: none of {len(paths)} audio files can be read; see the warnings")
    with atomic_path(manifest_paths(options.out, "noise")[0]) as temporary:
        RecordingSet.from_recordings(recordings).to_file(temporary)
    hours = sum(recording.duration for recording in recordings) / 3600
    print(f"noise: {len(recordings)} of {len(paths)} recordings, {hours:.2f} hours")


if __name__ == "__main__":
    main()
