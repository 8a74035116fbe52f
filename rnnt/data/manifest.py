"""Manifests of any size: read from beginning to end, or at random.

Random access needs uncompressed JSON lines and the offset of each. A cut costs 12 bytes of memory (offset and duration)
until it is read. So an exact plan over the complete corpus, and a resume without reading what was done, are cheap.
"""

from __future__ import annotations

import gzip
import json
import os
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from rnnt.data.lines import check_item, parse_line
from rnnt.data.sources import check_sources, find_files
from rnnt.errors import UserError, one_line
from rnnt.files import atomic_path

if TYPE_CHECKING:
    from lhotse.cut import Cut


class Manifest(Protocol):
    """What `PlannedBatches` asks of a manifest: utterances by number."""

    path: Path  # for messages
    durations: np.ndarray  # float32 (N,), seconds
    shard_ends: np.ndarray | None = None  # int64 (S,), where each shard ends; None: any utterance is as near as another

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Any:
        """The cut with that number: a lhotse cut, or what has the attributes that the loader needs."""

    def place(self, number: int) -> str | Path:
        """The file or address that an utterance is in, for messages."""
        return self.path

    def epoch(self, seed: int, epoch: int) -> list[np.ndarray]:
        """The utterances of an epoch (from 1), in windows that are planned one by one: integers (M,), ascending."""
        return [np.arange(len(self))]

    def windows(self) -> list[np.ndarray]:
        """All utterances in windows that an evaluation plans one by one: int64 (M,) each."""
        return [np.arange(len(self))]

    def plan_key(self) -> list[Any]:
        """What `epoch` depends on beside its arguments and the durations."""
        return []

    def describe(self, seed: int) -> list[str]:
        """What there is to say about the sets that it consists of, and about the first epoch, for the log."""
        return []


def count_lines(path: str | Path) -> int | None:
    """The number of lines of a .jsonl or .jsonl.gz manifest; None where it is broken: `read_items` then says how."""
    try:
        with open_lines(path) as file:
            return sum(1 for _ in file)
    except (OSError, EOFError, zlib.error):
        return None


def open_lines(path: str | Path) -> IO[bytes] | gzip.GzipFile:
    """A .jsonl or .jsonl.gz file, open for reading bytes."""
    return gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb")


def read_items(path: str | Path, stage: int, parse: Callable[[Any], Any] | None = None) -> Iterator[tuple[bytes, Any]]:
    """Yield `(line, item)` of a .jsonl or .jsonl.gz manifest: the bytes as they are, and the parsed object.

    Args:
        path: of the manifest.
        stage: that makes the manifest, for messages.
        parse: function of the JSON value; None: the value itself.

    Raises:
        UserError: when the file is missing, or broken: names the line.
    """
    path, number = Path(path), 1
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; stage {stage} makes it")
    try:
        with open_lines(path) as file:
            for line in file:
                item = check_item(check_sources(parse_line(line)))
                yield line, parse(item) if parse else item
                number += 1
    except UserError as error:
        raise UserError(f"{path}: line {number}: {error}") from None
    except Exception as error:  # a broken file, a value of the wrong type, and what lhotse raises of many kinds
        problem = one_line(error)
        raise UserError(f"{path}: line {number}: broken ({problem}); remove it and run stage {stage} again") from None
    if number == 1:
        raise UserError(f"{path}: the manifest is empty; run stage {stage} again")


class CutManifest(Manifest):
    """The cuts of a `.jsonl` file, by number.

    The index is kept beside the file as `.<name>.idx.npz` and made again when the file has changed.

    Attributes:
        path: the file.
        durations: float32 (N,), seconds.

    Raises:
        UserError: when the file is missing or a line is broken.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            others = sorted(p.stem for p in self.path.parent.glob("[!.]*.jsonl"))
            remedy = f"the sets there are {' '.join(others)}" if others else "run prepare.sh (stage 6 writes it)"
            raise UserError(f"{path}: no such manifest; {remedy}")
        self._file: BinaryIO | None = None
        self._offsets, self.durations = self._load_index() or self._make_index()
        if not len(self._offsets):
            raise UserError(f"{path}: the manifest is empty; look at the report of stage 6")

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, number: int) -> Cut:
        """The lhotse cut with that number."""
        from lhotse.serialization import deserialize_item

        try:
            return deserialize_item(find_files(check_sources(json.loads(self._line(number))), self.path))
        except UserError as error:
            raise UserError(f"{self.path}: utterance {number + 1}: {error}") from None
        except Exception as error:  # lhotse raises many kinds
            raise UserError(f"{self.path}: utterance {number + 1}: {one_line(error)}") from None

    def __getstate__(self) -> dict[str, Any]:
        # A file must not be shared between processes: their positions would mix.
        return {**self.__dict__, "_file": None}

    def _line(self, number: int) -> bytes:
        if self._file is None:
            self._file = open(self.path, "rb")  # noqa: SIM115  (stays open as long as the manifest)
        self._file.seek(int(self._offsets[number]))
        return self._file.readline()

    def _stamp(self) -> np.ndarray:
        status = os.stat(self.path)
        return np.array([status.st_size, status.st_mtime_ns], dtype=np.int64)

    @property
    def _index_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.idx.npz")

    def _load_index(self) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            with np.load(self._index_path) as index:
                if np.array_equal(index["stamp"], self._stamp()):
                    return index["offsets"], index["durations"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
            pass
        return None

    def _make_index(self) -> tuple[np.ndarray, np.ndarray]:
        starts, seconds, stamp, offset = array("q"), array("f"), self._stamp(), 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    starts.append(offset)
                    seconds.append(_duration(self.path, number, line))
                offset += len(line)
        offsets, durations = np.array(starts, dtype=np.int64), np.array(seconds, dtype=np.float32)
        try:
            with atomic_path(self._index_path) as temporary:
                np.savez(temporary, stamp=stamp, offsets=offsets, durations=durations)
        except UserError:
            pass  # A read-only folder or a full disk: the index is only a convenience.
        return offsets, durations


def _duration(path: Path, number: int, line: bytes) -> float:
    try:
        return float(check_item(parse_line(line))["duration"])
    except (ValueError, KeyError) as error:
        problem = one_line(error)
        raise UserError(
            f"{path}: line {number} is not a cut of lhotse ({problem}); make the file again with stage 6"
        ) from None
