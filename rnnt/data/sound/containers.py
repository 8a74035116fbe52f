"""Whether a file holds the audio that its header claims: WAV, RF64, W64, AIFF, CAF, AU, NIST SPHERE.

libsndfile reads as much as there is and says nothing. The sizes in the headers tell, without reading the audio.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from rnnt.data.sound import AudioError

TRUNCATED = "truncated: the file ends before the audio does; get it again"
JOINED = "a second file follows the first in it, of which nothing would be read; convert them one by one"

LARGEST_TAIL = 4096  # bytes behind the audio that may be anything; more are zeros or chunks, whose names are letters


@dataclass(frozen=True)
class _Chunks:
    """How a container of chunks (identifier, size, body) is laid out."""

    first: int  # where the first chunk begins
    audio: bytes  # identifier of the chunk with the samples
    size: str = "<I"  # `struct` format of the size
    align: int = 2  # chunks begin at multiples of it
    size_is_of_all: bool = False  # of identifier and size too


_LAYOUTS = {
    b"RIFF": _Chunks(12, b"data"),
    b"RIFX": _Chunks(12, b"data", ">I"),
    b"RF64": _Chunks(12, b"data"),
    b"FORM": _Chunks(12, b"SSND", ">I"),
    b"riff": _Chunks(40, bytes.fromhex("64617461f3acd3118cd100c04f8edb8a"), "<Q", 8, True),  # Sony Wave64
    b"caff": _Chunks(8, b"data", ">Q", 1),
}


def check_container(file: BinaryIO, magic: bytes, size: int) -> None:
    """Check that the audio of a file ends within it, and that no more audio follows.

    Args:
        file: open for reading.
        magic: its first four bytes; containers that are not listed above are not looked at.
        size: of the file in bytes.

    Raises:
        AudioError: when some of the audio is missing, or would not be read.
    """
    if magic in _LAYOUTS:
        _check_chunks(file, magic, _LAYOUTS[magic], size)
    elif magic in (b".snd", b"dns."):
        _check_au(file, ">" if magic == b".snd" else "<", size)
    elif magic == b"NIST":
        _check_sphere(file, size)


def _check_chunks(file: BinaryIO, magic: bytes, layout: _Chunks, size: int) -> None:
    position, long_size = layout.first, 0
    head_size = len(layout.audio) + struct.calcsize(layout.size)
    while position + head_size <= size:
        file.seek(position)
        head = file.read(head_size)
        (claimed,) = struct.unpack(layout.size, head[len(layout.audio) :])
        if magic == b"RF64" and head.startswith(b"ds64"):
            (long_size,) = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))
        body = position + head_size
        end = body + claimed - head_size * layout.size_is_of_all
        if magic == b"RF64" and claimed == 0xFFFFFFFF:
            end = body + long_size
        if head.startswith(layout.audio):
            _check_end(file, magic, end, size)
            return
        position = max(body, -(-end // layout.align) * layout.align)


def _check_end(file: BinaryIO, magic: bytes, end: int, size: int) -> None:
    if _is_unknown(end):
        return
    if end > size:
        raise AudioError(TRUNCATED)
    file.seek(end)
    tail = file.read(1 << 16).lstrip(b"\0")
    if tail.startswith(magic):
        raise AudioError(JOINED)
    if size - end > LARGEST_TAIL and tail and not all(0x20 <= byte < 0x7F for byte in tail[:4]):
        raise AudioError("more follows the audio than its header says, perhaps more audio; mend the header")


def _is_unknown(end: int) -> bool:
    """Whether a claimed end is what programs write that don't know the length beforehand, about 2**31, 2**32, 2**64."""
    return 0x7FFF0000 <= end <= 0x8000FFFF or 0xFFFF0000 <= end <= 0x1_0000_FFFF or end >= 1 << 62


def _check_au(file: BinaryIO, order: str, size: int) -> None:
    file.seek(4)
    offset, claimed = struct.unpack(f"{order}II", file.read(8).ljust(8, b"\0"))
    _check_end(file, b".snd" if order == ">" else b"dns.", offset + claimed, size)


def _check_sphere(file: BinaryIO, size: int) -> None:
    file.seek(0)
    text = file.read(1024).decode("ascii", "replace")
    fields = {words[0]: words[-1] for words in map(str.split, text.splitlines()[2:]) if len(words) >= 3}
    try:
        samples = int(fields["sample_count"])
        width = int(fields["sample_n_bytes"]) * int(fields.get("channel_count", "1"))
        _check_end(file, b"NIST", int(text.splitlines()[1]) + samples * width, size)
    except (KeyError, ValueError, IndexError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError("its NIST header does not say how long the audio is; convert it, e.g. to FLAC") from None
