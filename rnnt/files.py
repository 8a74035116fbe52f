"""Files that are either complete or absent: write under a temporary name, then rename.

A process that is killed leaves its temporary file behind. The next one that writes into the folder removes it.
"""

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rnnt.errors import UserError, one_line

# What processes of other machines, which can't be asked whether they live, have not touched for so long is left behind.
ABANDONED = 3600.0  # seconds
_HOST = re.sub(r"\W", "_", socket.gethostname())[:40]
_cleared = set[str]()  # folders in which this process has looked for what others left behind


def _temporary_name(path: Path) -> str:
    # The last suffix is kept: some writers choose their format by it.
    return f".{path.stem}.{_HOST}-{os.getpid()}.tmp{path.suffix}"


def _is_left_behind(path: Path) -> bool:
    """Whether a file or folder is a temporary one, and the process that made it is gone."""
    match = re.fullmatch(r"\..*\.(?:(\w+)-)?(\d+)\.tmp(\..*)?", path.name)
    if not match:
        return False
    if match[1] == _HOST:
        with contextlib.suppress(ProcessLookupError):
            with contextlib.suppress(PermissionError):  # of another user
                os.kill(int(match[2]), 0)
            return False
        return not _is_locked(path)
    return time.time() - path.lstat().st_mtime > ABANDONED and not _is_locked(path)


def _is_locked(path: Path) -> bool:
    """Whether a process holds a file, also one of a container that shares this machine's name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False


def clear_leftovers(folder: str | Path) -> None:
    """Remove the temporary files in `folder` whose processes are gone; every first write into a folder does it."""
    with contextlib.suppress(OSError):
        for path in Path(folder).glob(".*.tmp*"):
            with contextlib.suppress(OSError):
                if _is_left_behind(path):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _prepare(folder: Path) -> None:
    """Make a folder that is written into, and once clear it of what killed processes left there."""
    folder.mkdir(parents=True, exist_ok=True)
    name = os.path.abspath(folder)
    if name not in _cleared:
        _cleared.add(name)
        clear_leftovers(folder)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Lock a temporary file or folder for as long as it is written, so that nobody takes it for left behind."""
    descriptor = os.open(path, os.O_RDONLY | (0 if path.is_dir() else os.O_CREAT), 0o666)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary `Path` beside `path`; rename it to `path` when the block ends well, else remove it.

    Raises:
        UserError: when the disk is full or the folder can't be written; what was at `path` is kept.
    """
    path = Path(path)
    temporary = path.with_name(_temporary_name(path))
    try:
        _prepare(path.parent)
        with _held(temporary):
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror or error}; what was there before is kept") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Yield an open file that becomes `path` when the block ends well. See `atomic_path`."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, open(temporary, mode, encoding=encoding) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_bytes(path: str | Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Yield an open file for bytes, compressed if `path` ends in .gz, that becomes it when the block ends well."""
    path = Path(path)
    if path.suffix != ".gz":
        with atomic_write(path, "wb") as file:
            yield file
        return
    # No name and no time in the header: the same contents give the same file.
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        yield packed


def refuse_existing(out: str | Path) -> None:
    """Raise UserError where `--out` is there already: a model is never overwritten."""
    if Path(out).exists():
        raise UserError(f"{out}: already exists; remove it or choose another --out")


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; it takes the place of `path` when the block ends well.

    Raises:
        UserError: as `atomic_path` does.
    """
    path = Path(path)
    temporary, before = (path.with_name(f".{path.name}{kind}.{_HOST}-{os.getpid()}.tmp") for kind in ("", ".before"))
    try:
        _prepare(path.parent)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        with _held(temporary):
            yield temporary
            if path.exists():  # a moment without either is as short as it can be
                os.replace(path, before)
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror or error}") from error
    finally:
        for left in (temporary, before):
            shutil.rmtree(left, ignore_errors=True)


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy the contents of a file, atomically; nothing happens where both are the same file."""
    if Path(source).resolve() != Path(path).resolve():
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:  # a folder, a circle of links, no permission
        raise UserError(f"{path}: can't read it: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        problem = one_line(error)
        raise UserError(f"{path}: not valid JSON ({problem}); remove it and run the step that makes it again") from None


def read_json_object(path: str | Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object; `UserError` where there is another value, or one of `keys` is not in it."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected an object, not {one_line(repr(value), 60)}; make the file again")
    missing = [key for key in keys if key not in value]
    if missing:
        raise UserError(f"{path}: no {', '.join(missing)} in it; make the file again")
    return value


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
