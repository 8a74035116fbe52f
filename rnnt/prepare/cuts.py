"""From recordings and supervisions (stage 1) to a list of cuts, one per utterance, in a stream.

No manifest is held in memory: recordings are found through 16 bytes each, so the order of the two files is free.
Dictionaries become lhotse's objects only where lhotse has something to do: that takes most of the time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnnt.data.manifest import read_items
from rnnt.progress import progress


@dataclass
class CutListReport:
    """What `write_cut_list` found."""

    cuts: int = 0
    # (id, problem) of supervisions that name none of the recordings.
    without_recording: list[tuple[str, str]] = field(default_factory=list)
    rates: set[int] = field(default_factory=set)  # samples/s of the recordings


class RecordingIndex:
    """The recordings of a lhotse manifest of any size by their id. Made by `open_recordings`."""

    def __init__(self, file: IO[bytes], hashes: np.ndarray, offsets: np.ndarray) -> None:
        order = np.argsort(hashes, kind="stable")
        self._file, self._hashes, self._offsets = file, hashes[order], offsets[order]

    def find(self, recording_id: str) -> dict[str, Any] | None:
        """Its dictionary in the manifest, or None."""
        key = _hash(recording_id)
        for position in range(int(np.searchsorted(self._hashes, key)), len(self._hashes)):
            if self._hashes[position] != key:
                break
            self._file.seek(int(self._offsets[position]))
            item = json.loads(self._file.readline())
            if item["id"] == recording_id:
                return item
        return None


@contextmanager
def open_recordings(path: str | Path, scratch: str | Path) -> Iterator[RecordingIndex]:
    """The `RecordingIndex` of a manifest; `scratch` is the path of an uncompressed copy for as long as it is open."""
    hashes, offsets, offset = array("Q"), array("Q"), 0
    scratch = Path(scratch)
    try:
        with open(scratch, "w+b") as file:
            for line, item in read_items(path, 1):
                hashes.append(int(_hash(item["id"])))
                offsets.append(offset)
                offset += file.write(line)
            yield RecordingIndex(file, np.frombuffer(hashes, np.uint64), np.frombuffer(offsets, np.uint64))
    finally:
        scratch.unlink(missing_ok=True)


def _hash(recording_id: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(recording_id.encode(), digest_size=8).digest(), "big"))


def write_cut_list(
    file: IO[str],
    recordings: str | Path,
    supervisions: str | Path,
    sampling_rate: int,
    factors: Sequence[float] = (),
) -> CutListReport:
    """Write one cut per utterance, named like its supervision, and after them copies at other speeds.

    Args:
        file: open for writing text, with a name.
        recordings: path of their manifest.
        supervisions: path of their manifest.
        sampling_rate: of the cuts; recordings of another rate are resampled when they are read.
        factors: speed factors of the copies.

    Raises:
        UserError: on a broken line.
    """
    report = CutListReport()
    with open_recordings(recordings, f"{file.name}.recordings") as index:
        for _, supervision in progress(
            read_items(supervisions, 1), what=Path(supervisions).name.split(".")[0], unit="utt"
        ):
            recording = index.find(supervision["recording_id"])
            if recording is None:
                report.without_recording.append((supervision["id"], f"no recording {supervision['recording_id']}"))
                continue
            _write(file, _at_rate(_cut(recording, supervision), sampling_rate, report))
            report.cuts += 1
    file.flush()
    _write_copies(file, report, factors)
    return report


def write_window_list(file: IO[str], recordings: str | Path, sampling_rate: int, seconds: float) -> CutListReport:
    """Write cuts of `seconds` of recordings without transcripts, such as noise.

    The end of a recording is kept when it is at least half as long, or all there is. Arguments and result are as in
    `write_cut_list`.
    """
    from lhotse import Recording

    report = CutListReport()
    for _, item in progress(read_items(recordings, 2), what=Path(recordings).name.split(".")[0], unit="file"):
        all_of_it = Recording.from_dict(item).to_cut()
        for number in itertools.count():
            start = number * seconds
            left = all_of_it.duration - start
            if left <= 0 or (number and left < seconds / 2):
                break
            window = all_of_it.truncate(offset=start, duration=min(seconds, left))
            window.id = f"{all_of_it.recording_id}-{number}"
            _write(file, _at_rate(window.to_dict(), sampling_rate, report))
            report.cuts += 1
    return report


def _cut(recording: dict[str, Any], supervision: dict[str, Any]) -> dict[str, Any]:
    """The cut of an utterance; all three are dictionaries as in lhotse's manifests."""
    start, channel = supervision["start"], supervision.get("channel", 0)
    # An end behind that of the recording is left to stage 6, which names it.
    left = recording["duration"] - start
    return {
        "id": supervision["id"],
        "start": start,
        "duration": min(supervision["duration"], left) if left > 0 else supervision["duration"],
        "channel": channel if isinstance(channel, int) else channel[0],
        "supervisions": [_from_zero(supervision)],
        "recording": recording,
        "type": "MonoCut",
    }


def _from_zero(supervision: dict[str, Any]) -> dict[str, Any]:
    """The supervision as seen from its own start."""
    if "alignment" not in supervision:
        return {**supervision, "start": 0.0}
    from lhotse import SupervisionSegment

    segment = SupervisionSegment.from_dict(supervision)
    return segment.with_offset(-segment.start).to_dict()


def _at_rate(cut: dict[str, Any], sampling_rate: int, report: CutListReport) -> dict[str, Any]:
    """The cut with its recording resampled, if need be, when it is read."""
    rate = cut["recording"]["sampling_rate"]
    report.rates.add(rate)
    if rate == sampling_rate:
        return cut
    from lhotse.serialization import deserialize_item

    return deserialize_item(cut).resample(sampling_rate).to_dict()


def _write_copies(file: IO[str], report: CutListReport, factors: Sequence[float]) -> None:
    """Write copies of the cuts in `file` behind them."""
    originals = report.cuts
    for factor in factors:
        from lhotse.serialization import deserialize_item

        with open(file.name, encoding="utf-8") as lines:
            copies = progress(itertools.islice(lines, originals), total=originals, what=f"speed {factor}", unit="utt")
            for line in copies:
                _write(file, deserialize_item(json.loads(line)).perturb_speed(factor).to_dict())
                report.cuts += 1
        file.flush()


def _write(file: IO[str], cut: dict[str, Any]) -> None:
    file.write(json.dumps(cut, ensure_ascii=False) + "\n")
