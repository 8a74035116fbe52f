"""The download of the dataset, and the comparison of a folder with the published checksums."""

import hashlib
import http.client
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from rnnt.files import atomic_folder
from rnnt.prepare.download import reason_of, receive

# Pinned by commit: the dataset may grow.
URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz"
CHECKSUMS = Path(__file__).with_name("sha256.txt")


class DownloadError(Exception):
    """Why the dataset could not be downloaded. Not fatal: there is another source."""


def read_checksums() -> dict[str, str]:
    """`{file name: SHA-256}` of the 3000 recordings."""
    pairs = (line.split() for line in CHECKSUMS.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in pairs}


def differing_files(folder: str | Path) -> list[str]:
    """Names of the published recordings that are missing from `folder` or differ from the published ones."""

    def differs(name: str, digest: str) -> bool:
        path = Path(folder) / name
        return not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest

    return [name for name, digest in read_checksums().items() if differs(name, digest)]


def fetch(url: str, folder: str | Path, timeout: float) -> Path:
    """Download the archive and unpack the 3000 recordings into `folder`, within `timeout` seconds.

    Returns the folder. Raises `DownloadError` without network, on a slow network, or when a checksum is wrong.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download.", dir=folder.parent) as scratch:
        archive = Path(scratch) / "archive.tar.gz"
        _download(url, archive, timeout)
        with atomic_folder(folder) as temporary:
            _unpack(archive, temporary)
            different = differing_files(temporary)
            if different:
                raise DownloadError(
                    f"{url}: {len(different)} recordings are missing or have a wrong checksum, such as {different[0]}"
                )
    return folder


def _download(url: str, path: Path, timeout: float) -> None:
    try:
        if receive(url, path, timeout=min(10, timeout), seconds=timeout):
            return
        problem: object = "the connection broke off"
    except (OSError, ValueError, http.client.HTTPException) as error:
        problem = reason_of(error)
    raise DownloadError(f"{url}: {problem}")


def _unpack(archive: Path, folder: Path) -> None:
    """Write the recordings, and nothing else, of the archive into `folder`."""
    wanted = read_checksums()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in wanted:
                    content = tar.extractfile(member)
                    (folder / name).write_bytes(content.read() if content else b"")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"the archive is broken: {error}") from None
