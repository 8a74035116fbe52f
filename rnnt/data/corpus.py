"""The manifests that stage 1 leaves behind: lhotse recordings and supervisions of each set, and the list of sets.

`build_corpus` takes what they are made of in any order, and holds it on the disk until all of it is known to be right.
"""

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from rnnt.data.audio import use_soundfile
from rnnt.data.scratch import open_scratch
from rnnt.data.threads import map_in_threads
from rnnt.data.utterances import check_times, open_recording
from rnnt.errors import UserError
from rnnt.files import atomic_bytes, atomic_write
from rnnt.progress import progress

KINDS = ("recordings", "supervisions")

# `place` is the FILE:LINE that an item comes from. A recording without `item` is still to be opened; an utterance
# without one is still to be made of its text and times, and without `last` it goes to the end of the recording.
TABLES = """
CREATE TABLE recording (name, id, place, audio, duration, channel, item, UNIQUE (name, id));
CREATE TABLE supervision (name, id, place, recording, speaker, first, last, text, item, UNIQUE (name, id));
"""


def manifest_paths(folder, name):
    """The paths of the recordings and the supervisions of a set."""
    return [Path(folder) / f"{name}_{kind}.jsonl.gz" for kind in KINDS]


def write_set_names(folder, names):
    """Write `folder/sets`, a name a line, from which the recipe takes its sets. Last: it says that all are there."""
    with atomic_write(Path(folder) / "sets") as file:
        file.writelines(f"{name}\n" for name in names)


@contextmanager
def build_corpus(folder):
    """Yield a `CorpusBuilder` for the manifests in `folder`."""
    with open_scratch(folder) as database:
        database.executescript(TABLES)
        yield CorpusBuilder(Path(folder), database)


@dataclass(frozen=True)
class CorpusBuilder:
    """Sets of a corpus while they are read; `name` is that of a set, `place` where an item comes from, for messages.

    First all items are added, then `check` is called, perhaps `hold_out`, and `write`. Takes no memory an utterance.
    """

    folder: Path
    database: sqlite3.Connection
    names: list = field(default_factory=list)  # of the sets, in the order of their first items

    def add_recording(self, name, recording, place):
        """Add a lhotse `Recording`; again the same one is no fault.

        Raises `UserError` on another recording with this id, on several channels, on audio that is not there.
        """
        if recording.num_channels != 1:
            raise UserError(f"{place}: {recording.id}: {recording.num_channels} channels; write one file a channel")
        for source in recording.sources:
            if source.type == "file" and not Path(source.source).is_file():
                raise UserError(f"{place}: {recording.id}: {source.source}: no such audio file")
        item = _to_json(recording)
        self._add_recording(name, recording.id, place, item, recording.duration, recording.channel_ids[0], item)

    def add_supervision(self, name, supervision, place, repeated=False):
        """Add a lhotse `SupervisionSegment`. Raises `UserError` on a used id, unless `repeated` and it is the same."""
        item = _to_json(supervision)
        row = (name, supervision.id, place, supervision.recording_id, supervision.speaker, supervision.start)
        self._add_supervision((*row, supervision.end, supervision.text, item), repeated)

    def add_utterance(self, name, spoken):
        """Add a `Spoken`, whose audio `check` opens. Raises `UserError` on a used id, a recording of two files."""
        place = spoken.audio_where or spoken.where
        self._add_recording(name, spoken.recording, place, spoken.audio, None, None, None)
        row = (name, spoken.id, spoken.where, spoken.recording, spoken.speaker, spoken.start, spoken.end, spoken.text)
        self._add_supervision((*row, None))

    def has_utterances(self, name):
        """Whether the set holds any."""
        return self._one("SELECT 1 FROM supervision WHERE name = ?", name) is not None

    def _add_recording(self, name, key, place, audio, duration, channel, item):
        if name not in self.names:
            self.names.append(name)
        try:
            row = (name, key, place, audio, duration, channel, item)
            self.database.execute("INSERT INTO recording VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            there, other = self._one("SELECT place, audio FROM recording WHERE name = ? AND id = ?", name, key)
            if audio != other:
                raise UserError(f"{place}: recording {key} of {name} is another one in {there}; rename it") from None

    def _add_supervision(self, row, repeated=False):
        try:
            self.database.execute("INSERT INTO supervision VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            name, key, place, *_, item = row
            there, other = self._one("SELECT place, item FROM supervision WHERE name = ? AND id = ?", name, key)
            if not (repeated and item == other):
                raise UserError(f"{place}: utterance {key} of {name} is already in {there}; remove one") from None

    def _one(self, query, *values):
        return self.database.execute(query, values).fetchone()

    def check(self, audio_dir, num_threads=1):
        """Open the audio that is still to be opened, and check the times of all utterances against it.

        audio_dir: folder for the output of commands, by set; num_threads: threads that open files. Raises `UserError`
        naming the line of unreadable audio, of times outside of it, of a recording that is not there.
        """
        use_soundfile()
        (total,) = self._one("SELECT COUNT(*) FROM recording WHERE item IS NULL")
        rows = self.database.execute("SELECT rowid, name, id, audio, place FROM recording WHERE item IS NULL")

        def open_row(row):
            number, name, key, audio, place = row
            return number, open_recording(key, audio, place, Path(audio_dir) / name)

        for number, recording in progress(map_in_threads(open_row, rows, num_threads), total, "audio", "file"):
            opened = recording.duration, recording.channel_ids[0], _to_json(recording), number
            self.database.execute("UPDATE recording SET duration = ?, channel = ?, item = ? WHERE rowid = ?", opened)
        self._check_times()

    def _check_times(self):
        from lhotse import SupervisionSegment

        rows = self.database.execute(
            "SELECT s.rowid, s.id, s.place, s.recording, speaker, first, last, text, s.item, duration, channel "
            "FROM supervision s LEFT JOIN recording r ON r.name = s.name AND r.id = s.recording ORDER BY s.rowid"
        )
        for number, key, place, recording, speaker, first, last, text, item, duration, channel in rows:
            if duration is None:
                raise UserError(f"{place}: {key}: recording {recording} is not among the recordings")
            last = duration if last is None else last
            check_times(f"{place}: {key}", first, last, duration)
            if item is None:
                last = min(last, duration)
                seconds = round(last - first, 8)
                item = _to_json(SupervisionSegment(key, recording, first, seconds, channel, text, speaker=speaker))
                update = "UPDATE supervision SET last = ?, item = ? WHERE rowid = ?"
                self.database.execute(update, (last, item, number))

    def hold_out(self, new, old, number):
        """Make a set `new` of `number` speakers of `old`; which ones follows from their names alone.

        Raises `UserError` when too few speakers would be left, or a recording holds speakers of both sides.
        """
        rows = self.database.execute("SELECT DISTINCT speaker FROM supervision WHERE name = ? AND speaker > ''", (old,))
        speakers = sorted((speaker for (speaker,) in rows), key=lambda s: sha256(s.encode()).digest())
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

    def write(self):
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
            print(f"{name}: {utterances} utterances, {seconds / 3600:.2f} hours, {speakers} speakers")
        write_set_names(self.folder, self.names)


def _to_json(item):
    return json.dumps(item.to_dict(), ensure_ascii=False)
