"""One shard in lhotse's Shar format: some cuts, and a tar file with the features or the audio of each.

`cuts.000017.jsonl.gz` has the cuts, without their data. `features.000017.tar` (or `recording.000017.tar`) has two
members for each, in the same order: `<id>.llc` (lilcom), `<id>.npy` or an audio file, and `<id>.json`, which lhotse
needs. Any cut is read alone: where its data begin, how long they are and of what kind, our own shards say in its line
(`"4096 31337 llc"`, where lhotse leaves a text empty); in those of lhotse, the headers of the tar file are read first.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from rnnt.data.lines import check_item, parse_line
from rnnt.data.sources import check_sources
from rnnt.errors import UserError, one_line

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from rnnt.data.sets.address import Place
    from rnnt.data.sets.shard_files import ShardFiles

FIELDS = ("features", "recording")
ARRAYS = {"llc": "memory_lilcom", "npy": "memory_npy"}
BROKEN = (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile, tarfile.TarError)


class Member(NamedTuple):
    """The data of a cut within a tar file."""

    offset: int
    size: int
    ending: str

    def key(self) -> str:
        """As a text, for the line of the cut."""
        return f"{self.offset} {self.size} {self.ending}"

    @classmethod
    def parse(cls, key: Any) -> Member | None:
        """From that text; None where it is another."""
        found = re.fullmatch(r"(\d{1,15}) (\d{1,12}) (\w+)", key) if isinstance(key, str) else None
        return cls(int(found[1]), int(found[2]), found[3]) if found else None


class Shard:
    """A shard that is open: the lines of its cuts, and where their data are.

    Args:
        cuts: the manifest, .jsonl or .jsonl.gz.
        data: the tar file.
        field: `features` or `recording`.
        files: opens both.

    Raises:
        UserError: one of them is missing or broken.
    """

    def __init__(self, cuts: Place, data: Place, field: str, files: ShardFiles) -> None:
        self.cuts, self.data, self.field = cuts, data, field
        self._lines = read_lines(cuts, files)
        try:
            self._file = files.open(data, tar_fault)
        except OSError as error:
            raise UserError(f"{data}: can't read it ({one_line(error)}); write the shard again") from None
        self._members: list[tarfile.TarInfo] = []  # those of data, where the lines don't say

    def __len__(self) -> int:
        return len(self._lines)

    def close(self) -> None:
        """Close the tar file."""
        self._file.close()

    def cut(self, number: int) -> Cut:
        """A cut with its features or audio in memory.

        Raises:
            UserError: its line or its data are broken, or they don't go together.
        """
        from lhotse.serialization import deserialize_item

        place = f"{self.cuts}: line {number + 1}"
        try:
            item = parse_line(self._lines[number])
            member = self._point_to_data(item)
            cut = deserialize_item(check_sources(check_item(item)))
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        except Exception as error:  # lhotse raises many kinds
            raise UserError(f"{place}: {one_line(error)}") from None
        offset, size, ending = member or self._listed(number, cut.id)
        # Without a position: a loader process has it from the one that started it, which reads too.
        block = os.pread(self._file.fileno(), tarfile.BLOCKSIZE + size, max(offset - tarfile.BLOCKSIZE, 0))
        header, data = block[: tarfile.BLOCKSIZE], block[tarfile.BLOCKSIZE :]
        # A longer name stands in blocks before it.
        name = f"{cut.id}.{ending}".encode()
        if len(data) != size or not data or (len(name) < 100 and header[:100].rstrip(b"\0") != name):
            raise UserError(f"{self.data}: the data of {cut.id} are not where they should be; write the shard again")
        if self.field == "recording":
            cut.recording.sources[0].type = "memory"
            cut.recording.sources[0].source = data
        elif ending in ARRAYS:
            cut.features.storage_path = str(self.data)  # for messages
            cut.features.storage_type = ARRAYS[ending]
            cut.features.storage_key = data
        else:
            raise UserError(f"{self.data}: {cut.id}.{ending} is neither .llc nor .npy; write the shard again")
        return cut

    def _point_to_data(self, item: Any) -> Member | None:
        """Make the placeholder for the data in the line of a cut one that lhotse takes.

        Returns:
            What the placeholder says of the place of the data.
        """
        owner = item.get(self.field) if isinstance(item, dict) else None
        if not isinstance(owner, dict):
            raise UserError(f"the cut has no {self.field}")
        if self.field == "features":
            member = Member.parse(owner.get("storage_key"))
            owner.update(storage_type="lilcom_files", storage_path="shard", storage_key="shard")
            item.pop("recording", None)  # which may be a placeholder too, and is not needed
        else:
            sources = owner.get("sources")
            first = sources[0] if isinstance(sources, list) and sources else None
            member = Member.parse(first.get("source")) if isinstance(first, dict) else None
            channels = owner.get("channel_ids") or [0]
            owner["sources"] = [{"type": "file", "channels": channels, "source": "shard"}]
            item.pop("features", None)
        return member

    def _listed(self, number: int, key: str) -> Member:
        """Where the headers of the tar file say that the data of a cut are."""
        if not self._members:
            try:
                with tarfile.open(fileobj=self._file, mode="r:") as tar:
                    members = tar.getmembers()
            except BROKEN as error:
                raise UserError(
                    f"{self.data}: can't read it as a tar file ({one_line(error)}); write the shard again"
                ) from None
            if len(members) != 2 * len(self):
                raise UserError(
                    f"{self.data}: has {len(members)} members for the {len(self)} cuts of {self.cuts}, expected "
                    "two for each; write the shard again"
                )
            self._members = members[::2]
        member = self._members[number]
        name, _, ending = member.name.rpartition(".")
        if name != key:
            raise UserError(
                f"{self.cuts}: line {number + 1}: the cut is {key}, in {self.data} there is {name}; write the shard "
                "again"
            )
        return Member(member.offset_data, member.size, ending)


def read_lines(place: Place, files: ShardFiles) -> list[bytes]:
    """The lines of the manifest of a shard."""
    try:
        with files.open(place, lines_fault) as file, _unpacked(file) as lines:
            return [line for line in lines if line.strip()]
    except BROKEN as error:
        raise UserError(f"{place}: can't read it ({one_line(error)}); write the shard again") from None


def lines_fault(file: BinaryIO) -> str:
    """What is wrong with a manifest that was fetched; empty: nothing, as far as it can be seen without its cuts."""
    try:
        with _unpacked(file) as lines:
            first = lines.read(1)
            while lines.read(1 << 20):  # whether it is complete, the end of packed lines says
                pass
    except BROKEN as error:
        return f"it is cut short or broken ({one_line(error)})"
    return "" if first == b"{" else f"it is no list of cuts, {_beginning(file)}"


def tar_fault(file: BinaryIO) -> str:
    """What is wrong with a tar file that was fetched, by its begin and its end; empty: nothing."""
    try:
        tarfile.TarInfo.frombuf(_read(file, 0, tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.TarError:
        return f"it is no tar file, {_beginning(file)}"
    size = os.fstat(file.fileno()).st_size
    last = _read(file, max(size - tarfile.BLOCKSIZE, 0), tarfile.BLOCKSIZE)
    return "it is cut short: the end of a tar file is missing" if size % tarfile.BLOCKSIZE or any(last) else ""


@contextlib.contextmanager
def _unpacked(file: BinaryIO) -> Iterator[IO[bytes]]:
    """A file from its begin, unpacked where it is packed: the address that it is from need not say so."""
    file.seek(0)
    if _read(file, 0, 2) != b"\x1f\x8b":
        yield file
        return
    with gzip.GzipFile(fileobj=file) as unpacked:
        yield cast("IO[bytes]", unpacked)


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _beginning(file: BinaryIO) -> str:
    begin = _read(file, 0, 60)
    return f"it begins with {one_line(repr(begin)[1:], 80)}" if begin else "it is empty"
