"""Lines of text files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from rnnt.errors import UserError, one_line


def read_lines(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield `(FILE:LINE, line)` of the lines of a UTF-8 text file, also .gz, that are not blank; raises `UserError`."""
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                location = f"{path}:{number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise UserError(f"{location}: not UTF-8 ({error.reason}); convert the file with iconv") from None
                if text.strip():
                    yield location, text
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: can't read it: {getattr(error, 'strerror', None) or one_line(error)}") from None
