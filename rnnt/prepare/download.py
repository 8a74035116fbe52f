"""Archives from the network: resumed where broken off, compared with their MD5, unpacked safely."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any

from rnnt.errors import UserError
from rnnt.files import atomic_folder
from rnnt.progress import progress

BLOCK = 1 << 20
ATTEMPTS = 5
TIMEOUT = 60.0  # seconds without a byte


def check_room(folder: str | Path, needed: int, what: str) -> None:
    """Raise `UserError` unless the disk of `folder` has `needed` bytes left."""
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {what} needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left; make room or "
            "choose another folder"
        )


def check_md5(path: Path, md5: str, remedy: str) -> None:
    """Raise `UserError`, which ends with `remedy`, unless the MD5 of the file is `md5`."""
    digest = hashlib.md5()
    with open(path, "rb") as file, _bytes_bar(Path(path).stat().st_size, f"MD5 of {path.name}") as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != md5:
        raise UserError(f"{path}: bad archive, its MD5 is {digest.hexdigest()} and should be {md5}; {remedy}")


def fetch(url: str, path: str | Path, md5: str) -> None:
    """Download `url` to `path` unless it is there; its MD5 is checked either way.

    What is there of `<path>.part` is not downloaded again. Raises `UserError` when the server can't be reached, breaks
    off again and again, or sends something else; a bad download is removed, a bad file of the user's is not.
    """
    path = Path(path)
    if path.is_file():
        check_md5(path, md5, "remove it or put the right one there")
        return
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    fruitless = 0
    while True:
        before = _size(part)
        try:
            if receive(url, part):
                break
            problem: object = "the connection broke off"
        except (OSError, http.client.HTTPException) as error:
            problem = reason_of(error)
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                fruitless = ATTEMPTS
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless >= ATTEMPTS:
            raise UserError(f"{url}: {problem}; run it again, what is in {part} is kept")
    try:
        check_md5(part, md5, "run it again to download it again")
    except UserError:
        part.unlink()
        raise
    part.rename(path)


def get_folder(url: str, archive: str | Path, md5: str, folder: str | Path, name: str) -> None:
    """Download `archive` from `url` unless it is there, and unpack its folder `name` as `folder/name`.

    An archive that was there before stays, any other is removed. Raises `UserError` as `fetch` and `unpack` do.
    """
    archive, folder = Path(archive), Path(folder)
    keep = archive.is_file()
    fetch(url, archive, md5)
    folder.mkdir(parents=True, exist_ok=True)
    unpack(archive, folder, name)
    if not keep:
        archive.unlink()


def reason_of(error: Exception) -> object:
    """What went wrong with a connection."""
    return getattr(error, "reason", None) or error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def receive(url: str, part: Path, timeout: float = TIMEOUT, seconds: float = float("inf")) -> bool:
    """Download what is missing of `part`.

    Args:
        url: where it comes from.
        part: what is there of it; may be missing.
        timeout: seconds without a byte.
        seconds: longest time for all of it.

    Returns:
        Whether it is complete now.

    Raises:
        OSError: when the server can't be reached, TimeoutError among them.
        http.client.HTTPException: when it answers something else.
    """
    have, deadline = _size(part), time.monotonic() + seconds
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send
            return True
        raise
    with reply:
        if reply.status != 206:  # a server that sends all of it again
            have = 0
        length = reply.headers.get("Content-Length")
        total = have + int(length) if length else None
        with open(part, "ab" if have else "wb") as file, _bytes_bar(total, part.name, have) as bar:
            # read1: what is there, so that a trickle can't outlast the deadline
            while block := reply.read1(BLOCK):
                file.write(block)
                bar.update(len(block))
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {seconds:g} s")
    return total is None or _size(part) >= total


def _bytes_bar(total: int | None, what: str, done: int = 0) -> Any:
    bar = progress(None, total=total, what=what, unit="B")
    bar.update(done)
    return bar


def _harmless(member: tarfile.TarInfo, archive: Path) -> tarfile.TarInfo:
    """The member of an archive, if it is a file or folder below the folder where it is unpacked."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: {member.name} is not a plain file or leads outside; nothing of it was unpacked")
    return member


def unpack(archive: str | Path, folder: str | Path, name: str) -> None:
    """Unpack the folder `name` of an archive (.tar.gz) as `folder/name`, completely or not at all.

    Files beside it in the archive, at the same depth, are put into `folder` unless they are there. Raises `UserError`
    on a broken archive, on one without that folder, and on one whose members would leave the folder.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with atomic_folder(folder / f".{name}.unpacked") as temporary:
            with tarfile.open(archive) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
                members = progress(tar, what=f"unpack {archive.name}")
                tar.extractall(temporary, members=(_harmless(member, archive) for member in members))
            found = next((path for path in sorted(temporary.rglob(name)) if path.is_dir()), None)
            if found is None:
                raise UserError(f"{archive}: holds no folder {name}; is it another archive under this name?")
            for path in found.parent.iterdir():
                if path.is_file() and not (folder / path.name).exists():
                    path.rename(folder / path.name)
            found.rename(folder / name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive}: can't be unpacked ({error}); remove it and download it again") from None
    finally:
        shutil.rmtree(folder / f".{name}.unpacked", ignore_errors=True)
