"""Audio files: one reader for import, pipes, noise, features, training and transcription. See docs/data.md."""

from pathlib import Path

from rnnt.errors import UserError


class AudioError(ValueError):
    """What is wrong with a file of audio, and the remedy. Whoever catches it names the file."""


# Of files that are looked for in folders.
SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".sph", ".w64", ".rf64"}


def audio_files(folder: str | Path) -> list[Path]:
    """The audio files below a folder, sorted; raises `UserError` where there are none."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"{folder}: no audio files ({' '.join(sorted(SUFFIXES))}) in this folder")
    return paths
