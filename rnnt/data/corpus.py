"""The manifests that stage 1 leaves behind: lhotse recordings and supervisions of each set, and the list of sets."""

from pathlib import Path

from rnnt.files import atomic_path, atomic_write

KINDS = ("recordings", "supervisions")


def manifest_paths(folder, name):
    """The paths of the recordings and the supervisions of a set."""
    return [Path(folder) / f"{name}_{kind}.jsonl.gz" for kind in KINDS]


def write_manifests(folder, name, recordings, supervisions):
    """Write a set: lists of lhotse `Recording` and `SupervisionSegment`, sorted by id. Prints what it holds."""
    from lhotse import RecordingSet, SupervisionSet

    for path, cls, items in zip(
        manifest_paths(folder, name), (RecordingSet, SupervisionSet), (recordings, supervisions)
    ):
        with atomic_path(path) as temporary:
            cls.from_items(sorted(items, key=lambda item: item.id)).to_file(temporary)
    hours = sum(supervision.duration for supervision in supervisions) / 3600
    speakers = {supervision.speaker for supervision in supervisions if supervision.speaker}
    print(f"{name}: {len(supervisions)} utterances, {hours:.2f} hours, {len(speakers)} speakers")


def write_set_names(folder, names):
    """Write `folder/sets`, a name a line, from which the recipe takes its sets. Last: it says that all are there."""
    with atomic_write(Path(folder) / "sets") as file:
        file.writelines(f"{name}\n" for name in names)
