"""Opens the files of shards, wherever they are; what is not on this machine is fetched into a folder of it first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from rnnt.data.sets.address import Address, Place, parse_place
from rnnt.data.sets.cache import FileCache, open_cache
from rnnt.data.sets.commands import run_command
from rnnt.data.sets.config import FetchConfig
from rnnt.data.sets.download import download
from rnnt.errors import UserError


@dataclass(frozen=True)
class ShardFiles:
    """Opens files of shards.

    Args:
        folder: where relative paths begin.
        config: what may be run and fetched, and where it is kept.
    """

    folder: Path
    config: FetchConfig

    def place(self, text: str) -> Place:
        """See `parse_place`. Where something is to be fetched, the folder for it is there from now on."""
        place = parse_place(text, self.folder, self.config)
        if isinstance(place, Address):
            self._cache()
        return place

    def open(self, place: Place, fault: Callable[[BinaryIO], str]) -> BinaryIO:
        """A file, open for reading at any position.

        Args:
            place: where it is.
            fault: says what is wrong with one that was fetched; empty: nothing.

        Raises:
            UserError: it can't be fetched, or `fault` says something.
            OSError: a file of this machine can't be read.
        """
        if isinstance(place, Path):
            return open(place, "rb")

        def fill(file: BinaryIO) -> None:
            if place.command:
                run_command(place.command, file, str(place), self.config.shard_timeout)
            else:
                download(place.text, file, str(place), self.config.shard_timeout)
            file.flush()
            problem = fault(file)
            if problem:
                raise UserError(f"{place}: {problem}; put the shard there again")

        # What a command gives may depend on where it runs.
        key = sha256(f"{place.text}\0{os.getcwd() if place.command else ''}".encode("utf-8", "surrogatepass"))
        return self._cache().open(key.hexdigest()[:32], str(place), fill)

    def _cache(self) -> FileCache:
        return open_cache(self.config.shard_cache or tempfile.gettempdir(), self.config.shard_cache_gb * 1e9)
