"""A folder of files that were fetched, shared by all processes of a user on a machine.

Micro-batches take utterances from anywhere in the shards of a window, so what comes as a stream must lie on a disk
first; and every loader process of every rank wants it, so it is fetched by one of them. Locks say who is there:

- `.lock`: shared by all processes that use the folder. Who finds nobody else clears it: at the start of what killed
  processes left, in the end altogether.
- `.NN.lock`: held by the process that fetches a file.
- each file: shared by those that have it open. Others are removed, the longest unused first, beyond the limit.

A process reads on in a file that another one has removed: it lies on the disk until both have closed it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import BinaryIO

from rnnt.errors import UserError, one_line
from rnnt.files import atomic_path

LOCKS = 64  # processes that can fetch at the same time
_open = dict[Path, "FileCache"]()  # of this process


def open_cache(parent: str | Path, limit: float) -> FileCache:
    """The folder within `parent` that belongs to this user; closed at the end of the process.

    Args:
        parent: of the folder.
        limit: bytes of files that stay though nobody has them open.

    Raises:
        UserError: it can't be made, or is another user's.
    """
    folder = Path(parent).absolute() / f"rnnt-shards-{os.getuid()}"
    if folder not in _open:
        _open[folder] = FileCache(folder, limit)
        # After the loader processes, whose end has the priority 100.
        Finalize(None, _open[folder].close, exitpriority=10)
    return _open[folder]


class FileCache:
    """See above.

    Args:
        folder: made if it is missing.
        limit: bytes of files that stay though nobody has them open.

    Raises:
        UserError: the folder can't be made, has no locks, or is another user's.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        while True:
            with self._refused():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                status = folder.lstat()
                if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
                    raise UserError(f"{folder}: others can write there; remove it, or give another --shard-cache")
                self._lock = _open_lock(folder / ".lock")
                if _try_lock(self._lock) and self._is_there():
                    self._clear()
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                if self._is_there():
                    return
                os.close(self._lock)

    def open(self, key: str, name: str, fill: Callable[[BinaryIO], None]) -> BinaryIO:
        """A file, open for reading; nobody removes it until it is closed.

        Args:
            key: its name here, hexadecimal.
            name: that messages begin with.
            fill: writes it where it is missing; what it raises leaves nothing behind.

        Raises:
            UserError: the disk is full, or it is broken.
        """
        path = self.folder / key
        with self._refused(f"{name}: can't keep it in "), self._alone(key):
            filled = False
            while True:
                with contextlib.suppress(FileNotFoundError):
                    file = open(path, "rb")  # noqa: SIM115  (the caller closes it)
                    fcntl.flock(file, fcntl.LOCK_SH)
                    os.utime(file.fileno())
                    break
                try:
                    with atomic_path(path) as temporary, temporary.open("w+b") as new:
                        fill(new)
                except UserError as error:
                    if isinstance(error.__cause__, OSError):
                        raise error.__cause__ from None
                    raise
                filled = True
            if filled:
                self._make_room()
            return file

    def close(self) -> None:
        """Remove the folder, unless other processes use it."""
        _open.pop(self.folder, None)
        # First this: of two that leave at the same time one must find nobody.
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        if _try_lock(self._lock) and self._is_there():
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _is_there(self) -> bool:
        """Whether the lock is that of the folder, and not of one that another process has just removed."""
        try:
            return os.stat(self.folder / ".lock").st_ino == os.fstat(self._lock).st_ino
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _refused(self, words: str = "") -> Iterator[None]:
        """What the system says of the folder as a line that begins with `words`."""
        try:
            yield
        except OSError as error:
            problem = error.strerror or one_line(error)
            raise UserError(
                f"{words}{self.folder}: {problem}; give a --shard-cache on a local disk with room"
            ) from None

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        self.folder.mkdir(mode=0o700, exist_ok=True)  # who clears up temporary files may have taken it for old
        lock = _open_lock(self.folder / f".{int(key[:4], 16) % LOCKS:02d}.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make_room(self) -> None:
        """Remove files that nobody has open, the longest unused first, until the rest is within the limit."""
        found = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                if not entry.name.startswith("."):
                    found.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                if _try_lock(file.fileno()):
                    os.unlink(path)
                    total -= size

    def _clear(self) -> None:
        for entry in os.scandir(self.folder):
            if entry.name != ".lock" and not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    """Whether a file is now locked for this process alone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
