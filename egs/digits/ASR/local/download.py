"""The download of the dataset, and the comparison of a folder with the published checksums."""

import hashlib
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from rnnt.files import atomic_folder
from rnnt.progress import progress

# Pinned by commit: the dataset may grow.
URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz"
CHECKSUMS = Path(__file__).with_name("sha256.txt")


class DownloadError(Exception):
    """Why the dataset could not be downloaded. Not fatal: there is another source."""


def read_checksums():
    """`{file name: SHA-256}` of the 3000 recordings."""
    pairs = (line.split() for line in CHECKSUMS.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in pairs}


def differing_files(folder):
    """Names of the published recordings that are missing from `folder` or differ from the published ones."""

    def differs(name, digest):
        path = Path(folder) / name
        return not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest

    return [name for name, digest in read_checksums().items() if differs(name, digest)]


def fetch(url, folder, timeout):
    """Download the archive and unpack the 3000 recordings into `folder`, within `timeout` seconds.

    Returns the folder. Raises `DownloadError` without network, on a slow network, or when a checksum is wrong.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download.", dir=folder.parent) as place:
        archive = Path(place) / "archive.tar.gz"
        _download(url, archive, timeout)
        with atomic_folder(folder) as temporary:
            _unpack(archive, temporary)
            different = differing_files(temporary)
            if different:
                raise DownloadError(
                    f"{url}: {len(different)} recordings are missing or have a wrong checksum, such as {different[0]}"
                )
    return folder


def _download(url, path, timeout):
    deadline = time.monotonic() + timeout
    try:
        with urllib.request.urlopen(url, timeout=min(10, timeout)) as reply, open(path, "wb") as file:
            size = int(reply.headers.get("Content-Length") or 0)
            with progress(None, total=size or None, what="download", unit="B") as bar:
                # read1: what is there, so that a trickle can't outlast the deadline
                while block := reply.read1(1 << 16):
                    file.write(block)
                    bar.update(len(block))
                    if time.monotonic() > deadline:
                        raise DownloadError(f"{url}: not done after {timeout:g} s")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from None


def _unpack(archive, folder):
    """Write the recordings, and nothing else, of the archive into `folder`."""
    wanted = read_checksums()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in wanted:
                    (folder / name).write_bytes(tar.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"the archive is broken: {error}") from None
