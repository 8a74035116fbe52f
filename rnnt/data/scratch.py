"""A database on the disk for what would not fit into memory, gone when its block ends, however it ends."""

import sqlite3
from contextlib import contextmanager
from pathlib import Path

from rnnt.errors import UserError


@contextmanager
def open_scratch(folder):
    """Yield a `sqlite3.Connection` to an empty database in `folder`. Raises `UserError` on a full disk."""
    path = Path(folder) / ".scratch.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # Without locks, which some file systems of clusters don't have: nobody else knows the file.
        database = sqlite3.connect(f"{path.resolve().as_uri()}?nolock=1", uri=True)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{path}: can't write it: {error}") from error
    try:
        # Nothing of it is kept: no journal, no waiting for the disk, and no name, so that a killed process leaves none.
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384", "user_version=1"):
            database.execute(f"PRAGMA {setting}")
        path.unlink()
        yield database
    except sqlite3.OperationalError as error:
        raise UserError(f"{folder}: can't keep the corpus there while it is read: {error}") from error
    finally:
        database.close()
