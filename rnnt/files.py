"""Files that are either whole or absent: write under a temporary name, then rename."""

import contextlib
import gzip
import json
import os
import shutil
from pathlib import Path

from rnnt.errors import UserError


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary `Path` beside `path`; rename it to `path` when the block ends well, else remove it.

    Raises `UserError` when the disk is full or the folder can't be written; what stood at `path` is kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The last suffix is kept: some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror or error}; what was there before is kept") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_write(path, mode="w"):
    """Yield an open file that becomes `path` when the block ends well. See `atomic_path`."""
    encoding = None if "b" in mode else "utf-8"
    with atomic_path(path) as temporary, open(temporary, mode, encoding=encoding) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_bytes(path):
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
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):
        yield file


@contextlib.contextmanager
def atomic_folder(path):
    """Yield a new temporary folder beside `path`; it takes the place of `path` when the block ends well.

    Raises `UserError` as `atomic_path` does. What an earlier, killed run left behind under the temporary name goes.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path, value):
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path):
    """Read JSON; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); remove it and run the step that makes it again") from None
