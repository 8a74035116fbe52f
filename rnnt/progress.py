"""Progress bars: live on a terminal; in a log file one line every ten seconds, for what takes longer."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_PER_LINE = 10


class _Lines:
    """A stream for a bar that redraws itself: each drawing becomes a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self._stream.flush()


def progress(items: Iterable[Any] | None, total: float | None = None, what: str = "", unit: str = "it") -> tqdm:
    """Iterate over `items` with a bar on stderr that shows how much is done and the time left."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        return tqdm(items, total=total, desc=what, unit=unit, mininterval=0.2)
    timing = {"mininterval": SECONDS_PER_LINE, "delay": SECONDS_PER_LINE}
    return tqdm(items, total=total, desc=what, unit=unit, ascii=True, ncols=100, file=_Lines(sys.stderr), **timing)
