"""A set in shards, as one manifest: few of them are open at once, and memory does not grow with their number.

`<set>.shards` has a line for each shard, which names its files and says how long its utterances are:

    {"cuts": "train/cuts.000000.jsonl.gz", "features": "train/features.000000.tar", "durations": [3.21, 14.0, ...]}

`local/make_shards.py` writes it. Where it is missing, as beside a folder that lhotse wrote, it is made from the cuts;
where a line has no durations, they are taken from its cuts. A file may be `pipe:COMMAND` or `https://...`, too.
"""

from __future__ import annotations

import contextlib
import re
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.data.lines import check_item, parse_line
from rnnt.data.manifest import Manifest
from rnnt.data.sets.address import Address
from rnnt.data.sets.config import NO_FETCH, FetchConfig
from rnnt.data.sets.shard import FIELDS, Shard, read_lines
from rnnt.data.sets.shard_files import ShardFiles
from rnnt.errors import UserError, one_line
from rnnt.files import atomic_write
from rnnt.progress import progress

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from rnnt.data.sets.address import Place

INDEX = ".shards"


class ShardManifest(Manifest):
    """The cuts of a set in shards, by number: through all shards, in their order.

    Args:
        path: the list of the shards, `<set>.shards`; where it is missing, they are in the folder `<set>` beside it.
        open_shards: shards that a window of the plan has; twice as many are kept open.
        fetch: what may be run and fetched; by default nothing.

    Attributes:
        path: the list of the shards.
        durations: float32 (N,), seconds.
        shard_ends: int64 (S,), the number behind the last of each shard.

    Raises:
        UserError: there is no shard, the index is broken, or it names what `fetch` forbids.
    """

    shard_ends: np.ndarray

    def __init__(self, path: str | Path, open_shards: int, fetch: FetchConfig = NO_FETCH) -> None:
        self.path, self.open_shards = Path(path), open_shards
        self._files = ShardFiles(self.path.parent, fetch)
        self._entries: list[Mapping[str, str]] = []
        seconds, counts = array("f"), []
        for entry in read_index(self.path, self._files):
            durations = entry.pop("durations")
            counts.append(len(durations))
            seconds.extend(durations)
            self._entries.append(entry)
        self.durations = np.frombuffer(seconds, dtype=np.float32)
        self.shard_ends = np.array(list(accumulate(counts)), dtype=np.int64)
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __len__(self) -> int:
        return len(self.durations)

    def __getitem__(self, number: int) -> Cut:
        """The lhotse cut with that number, with its features or audio in memory."""
        which = self._which(number)
        first = int(self.shard_ends[which - 1]) if which else 0
        return self._shard(which).cut(int(number) - first)

    def __getstate__(self) -> dict[str, Any]:
        # A file must not be shared between processes: their positions would mix.
        return {**self.__dict__, "_open": OrderedDict()}

    def place(self, number: int) -> str | Path:
        """The manifest of the shard."""
        place = self._files.place(self._entries[self._which(number)]["cuts"])
        return place if isinstance(place, Path) else str(place)

    def windows(self) -> list[np.ndarray]:
        """Its shards, `open_shards` at a time."""
        ends = [0, *self.shard_ends[self.open_shards - 1 :: self.open_shards].tolist(), len(self)]
        return [np.arange(first, last) for first, last in zip(ends, ends[1:]) if first < last]

    def _which(self, number: int) -> int:
        return int(np.searchsorted(self.shard_ends, number, "right"))

    def _shard(self, which: int) -> Shard:
        if which in self._open:
            self._open.move_to_end(which)
            return self._open[which]
        entry = self._entries[which]
        field = field_of(entry)
        shard = Shard(self._files.place(entry["cuts"]), self._files.place(entry[field]), field, self._files)
        expected = int(self.shard_ends[which]) - (int(self.shard_ends[which - 1]) if which else 0)
        if len(shard) != expected:
            remedy = "remove that, it is made again"
            if isinstance(shard.cuts, Address):
                remedy = "remove the durations from its line, they are read again"
            raise UserError(f"{shard.cuts}: has {len(shard)} cuts, {self.path} says {expected}; {remedy}")
        self._open[which] = shard
        if len(self._open) > 2 * self.open_shards:
            self._open.popitem(last=False)[1].close()
        return shard


def index_path(folder: str | Path) -> Path:
    """The list of the shards in a folder."""
    folder = Path(folder)
    return folder.with_name(folder.name + INDEX)


def is_sharded(folder: Path) -> bool:
    """Whether a set, by its path without an ending, is in shards."""
    return index_path(folder).is_file() or any(folder.glob("cuts.*"))


def field_of(entry: Mapping[str, Any]) -> str:
    """Which data of a shard are read."""
    return next(name for name in FIELDS if isinstance(entry.get(name), str))


def read_index(path: Path, files: ShardFiles) -> Iterator[dict[str, Any]]:
    """The entries of a list of shards; see above. It is made, and written if that is possible, where it is missing."""
    if path.is_file() and _has_durations(path):
        yield from _read_entries(path, files)
        return
    if path.is_file():
        entries = list(_read_entries(path, files))
        for entry in progress(entries, len(entries), f"durations of {path.stem}", "shard"):
            if "durations" not in entry:
                entry["durations"] = read_durations(files.place(entry["cuts"]), files)
    else:
        entries = list(make_index(path.with_name(path.name.removesuffix(INDEX)), files))
    with contextlib.suppress(UserError):  # a read-only folder or a full disk: it is only a convenience
        write_index(path, entries)
    yield from entries


def _has_durations(path: Path) -> bool:
    with open(path, "rb") as file:
        return all(b'"durations"' in line for line in file)


def _read_entries(path: Path, files: ShardFiles) -> Iterator[dict[str, Any]]:
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = check_entry(parse_line(line))
            except ValueError as error:
                raise UserError(f"{path}: line {number}: {one_line(error)}; remove it, it is made again") from None
            try:
                for name in ("cuts", field_of(entry)):
                    files.place(entry[name])
            except UserError as error:
                raise UserError(f"{path}: line {number}: {error}") from None
            yield entry
    if not number:
        raise UserError(f"{path}: names no shard; remove it, it is made again")


def write_index(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write the entries of `read_index`."""
    import json

    with atomic_write(path) as file:
        file.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def make_index(folder: Path, files: ShardFiles) -> Iterator[dict[str, Any]]:
    """The entries of the shards in a folder, from their cuts."""
    found = sorted(path for path in folder.glob("cuts.*") if re.fullmatch(r"cuts\.\d+\.jsonl(\.gz)?", path.name))
    if not found:
        raise UserError(f"{folder}: no shards in it (cuts.000000.jsonl.gz and so on); local/make_shards.py writes them")
    for path in progress(found, len(found), f"index of {folder.name}", "shard"):
        number = path.name.split(".")[1]
        data = next((f"{field}.{number}.tar" for field in FIELDS if (folder / f"{field}.{number}.tar").is_file()), None)
        if data is None:
            raise UserError(
                f"{path}: neither features.{number}.tar nor recording.{number}.tar beside it; write it again"
            )
        yield {
            "cuts": f"{folder.name}/{path.name}",
            data.partition(".")[0]: f"{folder.name}/{data}",
            "durations": read_durations(path, files),
        }


def read_durations(cuts: Place, files: ShardFiles) -> list[float]:
    """The seconds of each cut of a shard."""
    return [read_duration(cuts, number, line) for number, line in enumerate(read_lines(cuts, files), 1)]


def read_duration(path: Place, number: int, line: bytes) -> float:
    """The seconds of the cut in a line, from 1, of the manifest of a shard."""
    try:
        value = parse_line(line)["duration"]
        check_item({"type": "PaddingCut", "id": "duration", "duration": value})
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: line {number}: is not a cut of lhotse ({one_line(error)})") from None
    return float(value)


def check_entry(entry: Any) -> dict[str, Any]:
    """An entry of a list of shards as it is; ValueError where it is not one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("cuts"), str):
        raise ValueError("names no cuts")
    if not any(isinstance(entry.get(field), str) for field in FIELDS):
        raise ValueError("names neither features nor recording")
    durations = entry.get("durations", [])
    if not isinstance(durations, list) or not all(type(d) in (int, float) and 0 < d < 1e12 for d in durations):
        raise ValueError("durations is not a list of seconds")
    return entry
