"""Progress bars: live on a terminal, a line now and then in a log file, for what takes longer than that."""

import sys

SECONDS_A_LINE = 10


class _Lines:
    """A stream for a bar that redraws itself: each drawing becomes a line."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        if text.strip():
            self._stream.write(text.strip() + "\n")

    def flush(self):
        self._stream.flush()


def progress(items, total=None, what="", unit="it"):
    """Iterate over `items` with a bar on stderr that shows how much is done and the time left."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        return tqdm(items, total=total, desc=what, unit=unit, mininterval=0.2)
    often = {"mininterval": SECONDS_A_LINE, "delay": SECONDS_A_LINE}
    return tqdm(items, total=total, desc=what, unit=unit, ascii=True, ncols=100, file=_Lines(sys.stderr), **often)
