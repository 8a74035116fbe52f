"""Stage 2: the manifest of a folder of recordings without transcripts, such as noise or music.

Takes all audio files below NOISE_DIR, in any format that soundfile reads. Writes OUT/noise_recordings.jsonl.gz. Files
that can't be read are reported and left out.
"""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.data.audio import use_soundfile
from rnnt.data.threads import map_in_threads
from rnnt.errors import UserError
from rnnt.files import atomic_path
from rnnt.options import make_parser, option, parse
from rnnt.progress import progress

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au", ".sph"}


@dataclass(frozen=True)
class NoiseOptions:
    """Noise."""

    noise_dir: str = option(help="folder of the recordings")
    out: str = option("data/noise_manifests", "folder of the manifest")
    nj: int = option(1, "threads that read the headers of the audio files")


def open_file(path, folder):
    """The lhotse `Recording` of a file, named by its path below `folder`; or what is wrong with it."""
    from lhotse import Recording

    from rnnt.data.audio import problem_of

    name = "-".join(path.relative_to(folder).with_suffix("").parts)
    try:
        return Recording.from_file(path, recording_id=name)
    except Exception as error:  # lhotse and the audio libraries raise many kinds
        return problem_of(error)


@program
def main(argv=None):
    (options,), _ = parse(make_parser(__doc__, NoiseOptions), [NoiseOptions], argv)
    from lhotse import Recording, RecordingSet

    use_soundfile()
    folder = Path(options.noise_dir).resolve()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{options.noise_dir}: no audio files ({' '.join(sorted(SUFFIXES))}) in this folder")
    opened = map_in_threads(lambda path: open_file(path, folder), paths, options.nj)
    opened = list(progress(opened, total=len(paths), what="noise", unit="file"))
    recordings = [item for item in opened if isinstance(item, Recording) and item.num_samples]
    for path, item in zip(paths, opened):
        if not isinstance(item, Recording):
            print(f"warning: {path}: {item}; left out")
    if not recordings:
        raise UserError(f"{options.noise_dir}: none of {len(paths)} audio files can be read; see the warnings")
    with atomic_path(Path(options.out) / "noise_recordings.jsonl.gz") as temporary:
        RecordingSet.from_recordings(recordings).to_file(temporary)
    hours = sum(recording.duration for recording in recordings) / 3600
    print(f"noise: {len(recordings)} of {len(paths)} recordings, {hours:.2f} hours")


if __name__ == "__main__":
    main()
