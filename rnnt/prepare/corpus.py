"""The manifests that stage 1 leaves behind: lhotse recordings and supervisions of each set, and the list of sets.

`build_corpus` takes what they are made of in any order, and holds it on the disk until all of it is known to be right.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.errors import UserError, counted
from rnnt.files import atomic_bytes, atomic_write
from rnnt.names import check_set_names
from rnnt.prepare.records import UtteranceRecord, check_recording, check_times, open_recording, shuffled
from rnnt.prepare.threads import map_in_threads
from rnnt.progress import progress

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

KINDS = ("recordings", "supervisions")

# `location` is the FILE:LINE that an item comes from. A recording without `item` is still to be opened; an utterance
# without one is still to be made of its text and times, and without `last` it goes to the end of the recording.
TABLES = """
CREATE TABLE recording (name, id, location, audio, duration, channel, item, UNIQUE (name, id));
CREATE TABLE supervision (name, id, location, recording, speaker, first, last, text, item, UNIQUE (name, id));
"""


def manifest_paths(folder: str | Path, name: str) -> list[Path]:
    """The paths of the recordings and the supervisions of a set; `UserError` where it can't be called so."""
    check_set_names([name], folder)
    return [Path(folder) / f"{name}_{kind}.jsonl.gz" for kind in KINDS]


def write_set_names(folder: str | Path, names: Sequence[str]) -> None:
    """Write `folder/sets`, one name per line, from which the recipe takes its sets. It comes last."""
    with atomic_write(Path(folder) / "sets") as file:
        file.writelines(f"{name}\n" for name in names)


@contextmanager
def build_corpus(folder: str | Path) -> Iterator[CorpusBuilder]:
    """Yield a `CorpusBuilder` for the manifests in `folder`."""
    with open_scratch(folder) as database:
        database.executescript(TABLES)
        yield CorpusBuilder(Path(folder), database)


class CorpusBuilder:
    """Sets of a corpus while they are read; `name` is that of a set, `location` the FILE:LINE of an item, for messages.

    First all items are added, then `check` is called, perhaps `hold_out`, and `write`. Takes no memory per utterance.

    Attributes:
        folder: of the manifests.
        database: holds the items, see `TABLES`.
        names: of the sets, in the order of their first items.
    """

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self.folder, self.database = folder, database
        self.names: list[str] = []

    def add_recording(self, name: str, recording: Recording, location: str) -> None:
        """Add a lhotse `Recording`; the same one again is not an error.

        Raises `UserError` on another recording with this id, on several channels, on audio that is not there.
        """
        if recording.num_channels != 1:
            raise UserError(
                f"{location}: {recording.id}: {recording.num_channels} channels; write one file per channel"
            )
        for source in recording.sources:
            if source.type == "file" and not Path(source.source).is_file():
                raise UserError(f"{location}: {recording.id}: {source.source}: no such audio file")
        command = next((source.source for source in recording.sources if source.type == "command"), None)
        if command:  # `check` runs it, as one of wav.scp
            self._add_recording(name, recording.id, location, f"{command} |", None, None, None)
            return
        item = _to_json(recording)
        self._add_recording(name, recording.id, location, item, recording.duration, recording.channel_ids[0], item)

    def add_supervision(
        self, name: str, supervision: SupervisionSegment, location: str, repeated: bool = False
    ) -> None:
        """Add a lhotse `SupervisionSegment`. Raises `UserError` on a used id, unless `repeated` and it is the same."""
        item = _to_json(supervision)
        row = (name, supervision.id, location, supervision.recording_id, supervision.speaker, supervision.start)
        self._add_supervision((*row, supervision.end, supervision.text, item), repeated)

    def add_utterance(self, name: str, record: UtteranceRecord) -> None:
        """Add an utterance, whose audio `check` opens. Raises `UserError` on a used id."""
        location = record.audio_location or record.location
        self._add_recording(name, record.recording, location, record.audio, None, None, None)
        times = record.start, record.end
        row = (name, record.id, record.location, record.recording, record.speaker, *times, record.text)
        self._add_supervision((*row, None))

    def has_utterances(self, name: str) -> bool:
        """Whether the set holds any."""
        return self._one("SELECT 1 FROM supervision WHERE name = ?", name) is not None

    def _add_recording(
        self,
        name: str,
        key: str,
        location: str,
        audio: str,
        duration: float | None,
        channel: int | None,
        item: str | None,
    ) -> None:
        if name not in self.names:
            check_set_names([*self.names, name], location)
            self.names.append(name)
        try:
            row = (name, key, location, audio, duration, channel, item)
            self.database.execute("INSERT INTO recording VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            first, other = self._one("SELECT location, audio FROM recording WHERE name = ? AND id = ?", name, key)
            if audio != other:
                raise UserError(
                    f"{location}: recording {key} of {name} differs from the one in {first}; rename it"
                ) from None

    def _add_supervision(self, row: tuple, repeated: bool = False) -> None:
        try:
            self.database.execute("INSERT INTO supervision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            name, key, location, *_, item = row
            first, other = self._one("SELECT location, item FROM supervision WHERE name = ? AND id = ?", name, key)
            if not (repeated and item == other):
                raise UserError(f"{location}: utterance {key} of {name} is already in {first}; remove one") from None

    def _one(self, query: str, *values: Any) -> Any:
        return self.database.execute(query, values).fetchone()

    def check(self, audio_dir: str | Path, num_threads: int = 1) -> None:
        """Open all audio, and check what manifests say of it and the times of all utterances.

        Args:
            audio_dir: folder for the output of commands, by set.
            num_threads: threads that open files.

        Raises:
            UserError: naming the line of unreadable audio, of times outside of it, of a recording that is not there.
        """
        from lhotse import Recording

        (total,) = self._one("SELECT COUNT(*) FROM recording")
        rows = self.database.execute("SELECT rowid, name, id, audio, location, item FROM recording")

        def open_row(row: tuple) -> tuple[int, Recording | None]:
            number, name, key, audio, location, item = row
            if item is None:
                return number, open_recording(key, audio, location, Path(audio_dir) / name)
            check_recording(Recording.from_dict(json.loads(item)), location)
            return number, None

        for number, recording in progress(map_in_threads(open_row, rows, num_threads), total, "audio", "file"):
            if recording is not None:
                opened = recording.duration, recording.channel_ids[0], _to_json(recording), number
                update = "UPDATE recording SET duration = ?, channel = ?, item = ? WHERE rowid = ?"
                self.database.execute(update, opened)
        self._check_times()

    def _check_times(self) -> None:
        from lhotse import SupervisionSegment

        rows = self.database.execute(
            "SELECT s.rowid, s.id, s.location, s.recording, speaker, first, last, text, s.item, duration, channel "
            "FROM supervision s LEFT JOIN recording r ON r.name = s.name AND r.id = s.recording ORDER BY s.rowid"
        )
        for number, key, location, recording, speaker, first, last, text, item, duration, channel in rows:
            if duration is None:
                raise UserError(f"{location}: {key}: recording {recording} is not among the recordings")
            if item is not None and (claimed := json.loads(item)["channel"]) not in (channel, [channel]):
                raise UserError(f"{location}: {key}: channel {claimed}; recording {recording} has channel {channel}")
            last = duration if last is None else last
            check_times(f"{location}: {key}", first, last, duration)
            if item is None:
                last = min(last, duration)
                seconds = round(last - first, 8)
                item = _to_json(SupervisionSegment(key, recording, first, seconds, channel, text, speaker=speaker))
                update = "UPDATE supervision SET last = ?, item = ? WHERE rowid = ?"
                self.database.execute(update, (last, item, number))

    def hold_out(self, new: str, old: str, number: int) -> None:
        """Make a set `new` of `number` speakers of `old`; which ones follows from their names alone.

        Raises `UserError` when too few speakers would be left, or a recording holds speakers of both sides.
        """
        rows = self.database.execute("SELECT DISTINCT speaker FROM supervision WHERE name = ? AND speaker > ''", (old,))
        speakers = shuffled(speaker for (speaker,) in rows)
        if len(speakers) <= number:
            raise UserError(f"--hold-out: {number} speakers are asked for and the set has {len(speakers)}")
        self.database.execute("CREATE TEMP TABLE chosen (speaker PRIMARY KEY)")
        self.database.executemany("INSERT INTO chosen VALUES (?)", ((speaker,) for speaker in speakers[:number]))
        shared = self._one(
            "SELECT MIN(recording) FROM (SELECT recording FROM supervision WHERE name = ? GROUP BY recording "
            "HAVING COUNT(DISTINCT COALESCE(speaker, '') IN chosen) > 1)", old,
        )[0]  # fmt: skip
        if shared is not None:
            raise UserError(f"--hold-out: recording {shared} holds speakers of both sets; name a set of its own")
        self.database.execute("UPDATE supervision SET name = ? WHERE name = ? AND speaker IN chosen", (new, old))
        self.database.execute(
            "UPDATE recording SET name = ? WHERE name = ? AND id IN (SELECT recording FROM supervision WHERE name = ?)",
            (new, old, new),
        )
        self.names.append(new)

    def write(self) -> None:
        """Write the manifests of each set, sorted by id, and then the list of sets; print what each set holds."""
        for name in self.names:
            for path, table in zip(manifest_paths(self.folder, name), ("recording", "supervision")):
                items = self.database.execute(f"SELECT item FROM {table} WHERE name = ? ORDER BY id", (name,))
                with atomic_bytes(path) as file:
                    file.writelines(item.encode() + b"\n" for (item,) in items)
            utterances, seconds, speakers = self._one(
                "SELECT COUNT(*), TOTAL(last - first), COUNT(DISTINCT NULLIF(speaker, '')) FROM supervision "
                "WHERE name = ?", name,
            )  # fmt: skip
            print(
                f"{name}: {counted(utterances, 'utterance')}, {seconds / 3600:.2f} hours, "
                f"{counted(speakers, 'speaker')}"
            )
        write_set_names(self.folder, self.names)


def _to_json(item: Recording | SupervisionSegment) -> str:
    return json.dumps(item.to_dict(), ensure_ascii=False)


@contextmanager
def open_scratch(folder: str | Path) -> Iterator[sqlite3.Connection]:
    """Yield a `sqlite3.Connection` to an empty database in `folder`. Raises `UserError` on a full disk."""
    path = Path(folder) / ".scratch.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # Without locks, which some file systems of clusters don't have: nobody else knows the file.
        database = sqlite3.connect(f"{path.resolve().as_uri()}?nolock=1", uri=True)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{path}: can't write it: {error}") from error
    try:
        # Nothing of it is kept: no journal, no waiting for the disk, and no name, so that a killed process leaves none.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384", "user_version=1"):
            database.execute(f"PRAGMA {setting}")
        path.unlink()
        yield database
    except sqlite3.OperationalError as error:
        raise UserError(f"{folder}: can't keep the corpus there while it is read: {error}") from error
    finally:
        database.close()
