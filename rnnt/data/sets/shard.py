"""One shard in lhotse's Shar format: some cuts, and a tar file with the features or the audio of each.

`cuts.000017.jsonl.gz` has the cuts, without their data. `features.000017.tar` (or `recording.000017.tar`) has two
members for each, in the same order: `<id>.llc` (lilcom), `<id>.npy` or an audio file, and `<id>.json`, which lhotse
needs. Any cut is read alone: where its data begin, how long they are and of what kind, our own shards say in its line
(`"4096 31337 llc"`, where lhotse leaves a text empty); in those of lhotse, the headers of the tar file are read first.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnt.data.lines import check_item, parse_line
from rnnt.data.manifest import open_lines
from rnnt.data.sources import check_sources
from rnnt.errors import UserError, one_line

if TYPE_CHECKING:
    from lhotse.cut import Cut

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

    Raises:
        UserError: one of them is missing or broken.
    """

    def __init__(self, cuts: Path, data: Path, field: str) -> None:
        self.cuts, self.data, self.field = cuts, data, field
        self._lines = read_lines(cuts)
        try:
            self._file = open(data, "rb")  # noqa: SIM115  (stays open as long as the shard)
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
        self._file.seek(max(offset - tarfile.BLOCKSIZE, 0))
        block = self._file.read(tarfile.BLOCKSIZE + size)
        header, data = block[: tarfile.BLOCKSIZE], block[tarfile.BLOCKSIZE :]
        # A longer name stands in blocks before it.
        name = f"{cut.id}.{ending}".encode()
        if len(data) != size or not data or (len(name) < 100 and header[:100].rstrip(b"\0") != name):
            raise UserError(f"{self.data}: the data of {cut.id} are not where they should be; write the shard again")
        if self.field == "recording":
            cut.recording.sources[0].type = "memory"
            cut.recording.sources[0].source = data
        elif ending in ARRAYS:
            cut.features.storage_type = ARRAYS[ending]
            cut.features.storage_key = data
        else:
            raise UserError(f"{self.data}: {cut.id}.{ending} is neither .llc nor .npy; write the shard again")
        return cut

    def _point_to_data(self, item: Any) -> Member | None:
        """Put the tar file where the line of a cut has a placeholder, which names no file.

        Returns:
            What the placeholder says of the place of the data.
        """
        owner = item.get(self.field) if isinstance(item, dict) else None
        if not isinstance(owner, dict):
            raise UserError(f"the cut has no {self.field}")
        if self.field == "features":
            member = Member.parse(owner.get("storage_key"))
            owner.update(storage_type="lilcom_files", storage_path=str(self.data), storage_key="shard")
            item.pop("recording", None)  # which may be a placeholder too, and is not needed
        else:
            sources = owner.get("sources")
            first = sources[0] if isinstance(sources, list) and sources else None
            member = Member.parse(first.get("source")) if isinstance(first, dict) else None
            channels = owner.get("channel_ids") or [0]
            owner["sources"] = [{"type": "file", "channels": channels, "source": str(self.data)}]
            item.pop("features", None)
        return member

    def _listed(self, number: int, key: str) -> Member:
        """Where the headers of the tar file say that the data of a cut are."""
        if not self._members:
            try:
                with tarfile.open(self.data, mode="r:") as tar:
                    members = tar.getmembers()
            except BROKEN as error:
                raise UserError(
                    f"{self.data}: can't read it as a tar file ({one_line(error)}); write the shard again"
                ) from None
            if len(members) != 2 * len(self):
                raise UserError(
                    f"{self.data}: has {len(members)} members for the {len(self)} cuts of {self.cuts.name}, expected "
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


def read_lines(path: Path) -> list[bytes]:
    """The lines of the manifest of a shard."""
    try:
        with open_lines(path) as file:
            return [line for line in file if line.strip()]
    except BROKEN as error:
        raise UserError(f"{path}: can't read it ({one_line(error)}); write the shard again") from None
