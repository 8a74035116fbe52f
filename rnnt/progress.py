"""Progress bars: live on a terminal, a line now and then in a log file."""

import sys


def progress(items, total=None, what="", unit="it"):
    """Iterate over `items` with a bar on stderr that shows how much is done and the time left."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(items, total=total, desc=what, unit=unit, mininterval=0.2 if terminal else 10, ascii=not terminal)
