"""Where the files of a shard are: on this machine, in the output of a command, or at an address of the web.

The last two are read only if the user allows it: a list of shards may come from a stranger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rnnt.errors import UserError, one_line, shortened

if TYPE_CHECKING:
    from rnnt.data.sets.config import FetchConfig

PIPE = "pipe:"


@dataclass(frozen=True)
class Address:
    """`pipe:COMMAND`, `http://...` or `https://...`."""

    text: str

    def __str__(self) -> str:
        """For messages and logs, which must not tell the signature or password that an address of the web may hold."""
        text = self.text if self.command else re.sub(r"//[^/]*@", "//...@", re.sub(r"[?#].*", "?...", self.text))
        return shortened(one_line(text, 1000))

    @property
    def command(self) -> str:
        """What is run; empty for an address of the web."""
        return self.text.removeprefix(PIPE) if self.text.startswith(PIPE) else ""


Place: TypeAlias = Path | Address


def parse_place(text: str, folder: Path, config: FetchConfig) -> Place:
    """Where a file of a shard is.

    Args:
        text: as the list of shards names it.
        folder: of the list, where relative paths begin.
        config: what the user allows.

    Raises:
        UserError: the user does not allow it, or it is of no known kind; names both.
    """
    if "\0" in text:
        raise UserError(f"{one_line(repr(text), 100)} holds NUL, and names no file")
    address = Address(text)
    if not re.match(r"pipe:|[A-Za-z][A-Za-z0-9+.-]*://", text):
        return folder / text
    if text.startswith(PIPE):
        if not config.allow_pipes:
            raise UserError(f"{address} is a command; give --allow-pipes true to run the commands of this list")
        if not address.command.strip():
            raise UserError(f"{address} names no command")
    elif re.match(r"https?://", text):
        if not config.allow_urls:
            raise UserError(f"{address} is on the web; give --allow-urls true to fetch what this list names")
    else:
        raise UserError(
            f"{address} is neither a file nor pipe:, http:// or https://; for others write the command that reads "
            "them, such as pipe:aws s3 cp s3://... -"
        )
    return address
