"""Archives from the network: resumed where broken off, compared with their MD5, unpacked safely."""

import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from rnnt.errors import UserError
from rnnt.files import atomic_folder
from rnnt.progress import progress

BLOCK = 1 << 20
ATTEMPTS = 5
TIMEOUT = 60  # seconds without a byte


def check_room(folder, needed, what):
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


def check_md5(path, md5, remedy):
    """Raise `UserError`, which ends with `remedy`, unless the MD5 of the file is `md5`."""
    digest = hashlib.md5()
    with open(path, "rb") as file, _bytes_bar(Path(path).stat().st_size, f"MD5 of {path.name}") as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != md5:
        raise UserError(f"{path}: bad archive, its MD5 is {digest.hexdigest()} and should be {md5}; {remedy}")


def fetch(url, path, md5):
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
            if _continue(url, part):
                break
            problem = "the connection broke off"
        except (OSError, http.client.HTTPException) as error:
            problem = getattr(error, "reason", None) or error
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                fruitless = ATTEMPTS
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless >= ATTEMPTS:
            raise UserError(f"{url}: {problem}; run it again, what is in {part} is kept")
    try:
        check_md5(part, md5, "run it again to download it anew")
    except UserError:
        part.unlink()
        raise
    part.rename(path)


def get_folder(url, archive, md5, folder, name):
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


def _size(path):
    return path.stat().st_size if path.is_file() else 0


def _continue(url, part):
    """Download what is missing of `part`; whether it is whole now."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=TIMEOUT)
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
            while block := reply.read1(BLOCK):
                file.write(block)
                bar.update(len(block))
    return total is None or _size(part) >= total


def _bytes_bar(total, what, done=0):
    bar = progress(None, total=total, what=what, unit="B")
    bar.update(done)
    return bar


def _harmless(member, archive):
    """The member of an archive, if it is a file or folder below the place where it is unpacked."""
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: {member.name} is no plain file or leads outside; nothing of it was unpacked")
    return member


def unpack(archive, folder, name):
    """Unpack the folder `name` of an archive (.tar.gz) as `folder/name`, whole or not at all.

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
