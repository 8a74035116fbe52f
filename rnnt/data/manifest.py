"""Manifests of any size: read from begin to end, or at random.

Random access needs uncompressed JSON lines and the offset of each. A cut costs 12 bytes of memory (offset and duration)
until it is read, so an exact plan over the whole corpus and a resume without reading what was done are cheap.
"""

import gzip
import json
import os
import zlib
from array import array
from pathlib import Path

import numpy as np

from rnnt.data.config import read_feature_config
from rnnt.errors import UserError
from rnnt.files import atomic_path


def count_lines(path):
    """The number of lines of a .jsonl or .jsonl.gz manifest; None where it is broken, which `read_items` then tells."""
    try:
        with open_lines(path) as file:
            return sum(1 for _ in file)
    except (OSError, EOFError, zlib.error):
        return None


def open_lines(path):
    """A .jsonl or .jsonl.gz file, open for reading bytes."""
    return gzip.open(path) if Path(path).suffix == ".gz" else open(path, "rb")


def read_items(path, stage, parse=None):
    """Yield `(line, item)` of a .jsonl or .jsonl.gz manifest: the bytes as they stand, and the parsed object.

    stage: the one that makes it, for messages; parse: function of the JSON value. Raises `UserError` that names the
    line of what is broken.
    """
    path, number = Path(path), 1
    if not path.is_file():
        raise UserError(f"{path}: no such manifest; stage {stage} makes it")
    try:
        with open_lines(path) as file:
            for line in file:
                item = json.loads(line)
                yield line, parse(item) if parse else item
                number += 1
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: line {number}: broken ({error}); remove it and run stage {stage} again") from None


class CutManifest:
    """The cuts of a `.jsonl` file, by number.

    Attributes:
      path: the file.
      durations: float32 (N,), seconds.

    The index is kept beside the file as `.<name>.idx.npz` and made anew when the file changed. Raises `UserError` on
    a missing file or a broken line.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{path}: no such manifest; run prepare.sh (stage 6 writes it)")
        self._file = None
        self._offsets, self.durations = self._load_index() or self._make_index()
        if not len(self._offsets):
            raise UserError(f"{path}: the manifest is empty; look at the report of stage 6")

    def __len__(self):
        return len(self._offsets)

    def __getitem__(self, number):
        """The lhotse cut with that number."""
        from lhotse.serialization import deserialize_item

        return deserialize_item(json.loads(self._line(number)))

    def feature_loader(self, augment_config=None, fill_F=None):
        """The `FeatureLoader` of its cuts, with the front-end that the features.json beside it describes."""
        from rnnt.data.loading import FeatureLoader  # which reads manifests of noise

        return FeatureLoader(read_feature_config(self.path.with_name("features.json")), augment_config, fill_F)

    def __getstate__(self):
        # A file must not be shared between processes: their positions would mix.
        return {**self.__dict__, "_file": None}

    def _line(self, number):
        if self._file is None:
            self._file = open(self.path, "rb")  # noqa: SIM115  (stays open as long as the manifest)
        self._file.seek(int(self._offsets[number]))
        return self._file.readline()

    def _stamp(self):
        status = os.stat(self.path)
        return np.array([status.st_size, status.st_mtime_ns], dtype=np.int64)

    @property
    def _index_path(self):
        return self.path.with_name(f".{self.path.name}.idx.npz")

    def _load_index(self):
        try:
            with np.load(self._index_path) as index:
                if np.array_equal(index["stamp"], self._stamp()):
                    return index["offsets"], index["durations"]
        except (OSError, ValueError, KeyError):
            pass
        return None

    def _make_index(self):
        offsets, durations, stamp, offset = array("q"), array("f"), self._stamp(), 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    offsets.append(offset)
                    durations.append(_duration(self.path, number, line))
                offset += len(line)
        offsets, durations = np.array(offsets, dtype=np.int64), np.array(durations, dtype=np.float32)
        try:
            with atomic_path(self._index_path) as temporary:
                np.savez(temporary, stamp=stamp, offsets=offsets, durations=durations)
        except UserError:
            pass  # A read-only folder or a full disk: the index is only a convenience.
        return offsets, durations


def _duration(path, number, line):
    try:
        cut = json.loads(line)
        return float(cut["duration"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: line {number} is no cut of lhotse; make the file again with stage 6") from None
