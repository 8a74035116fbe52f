"""MP3: how many frames a file has (ISO/IEC 11172-3 and 13818-3, layer III).

The header of an MP3 file, if it has one, is a first frame without audio: "Xing" or "Info", as LAME writes it, says how
many frames follow. libsndfile reads as many; without it, it guesses from the bit rate of the first frame and cuts off
the rest. Where that is not right, the file gets a header of ours in memory, so that all of it is read.
"""

from __future__ import annotations

import io
from typing import BinaryIO, NamedTuple

from rnnt.data.sound import AudioError
from rnnt.data.sound.containers import TRUNCATED

# kbit/s by the index in the header; MPEG 2 and 2.5 have the second row.
BIT_RATES = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLING_RATES = (44100, 48000, 32000)
DIVISORS = {3: 1, 2: 2, 0: 4}  # of the sampling rate: MPEG 1, 2, 2.5


class _Header(NamedTuple):
    """What the four bytes before a frame say."""

    size: int  # of the frame in bytes
    kind: tuple[int, int, bool]  # version, sampling rate, whether it is mono: the same all through a file


def _parse(head: bytes) -> _Header | None:
    """The header in four bytes, or None."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # eleven bits for synchronisation; layer III
        return None
    version, bit_rate, sampling_rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or sampling_rate == 3:
        return None
    hertz = SAMPLING_RATES[sampling_rate] // DIVISORS[version]
    kbits = BIT_RATES[1 if version == 3 else 2][bit_rate - 1]
    size = (144 if version == 3 else 72) * kbits * 1000 // hertz + (head[2] >> 1 & 1)
    return _Header(size, (version, hertz, head[3] >> 6 == 3))


def open_mp3(file: BinaryIO, size: int) -> BinaryIO | None:
    """What libsndfile shall read in place of an MP3 file, or None: the file itself.

    Args:
        file: open for reading.
        size: of the file in bytes.

    Raises:
        AudioError: when frames are missing, or can't be told from something else.
    """
    start = _skip_tags(file, 0)
    file.seek(start)
    head = file.read(256).ljust(256, b"\0")
    first = _parse(head[:4])
    if first is None:
        return None  # libsndfile decides what it is
    frames, num_bytes = _read_xing(head, first)
    if frames and num_bytes and start + num_bytes in (size, size - 128):  # 128: a tag at the end
        return None
    if num_bytes and start + num_bytes > size:
        raise AudioError(TRUNCATED)
    file.seek(start)
    data = file.read()
    found, spans = _find_frames(data, 0 if frames is None else first.size, first)
    if frames is not None and found < frames - 1:  # some programs count the header too
        raise AudioError(TRUNCATED)
    header = data[: first.size] if found == frames else _xing_frame(head, found)
    return io.BytesIO(b"".join([header, *(data[begin:end] for begin, end in spans)]))


def _skip_tags(file: BinaryIO, position: int) -> int:
    """Where ID3v2 tags that begin at `position` end."""
    while True:
        file.seek(position)
        tag = file.read(10)
        if tag[:3] != b"ID3" or len(tag) < 10:
            return position
        length = 0
        for byte in tag[6:]:
            length = length << 7 | byte & 0x7F
        position += 10 + length + 10 * (tag[5] >> 4 & 1)


def _xing_offset(header: _Header) -> int:
    """Where in its frame a Xing header stands: after the side information."""
    version, _, is_mono = header.kind
    return 4 + ((17 if is_mono else 32) if version == 3 else (9 if is_mono else 17))


def _read_xing(head: bytes, first: _Header) -> tuple[int | None, int | None]:
    """`(frames, bytes)` by the Xing header in the first frame; None for what it does not say."""
    offset = _xing_offset(first)
    if head[offset : offset + 4] not in (b"Xing", b"Info"):
        return None, None
    flags = head[offset + 7]
    numbers = [int.from_bytes(head[at : at + 4], "big") for at in range(offset + 8, offset + 16, 4)]
    frames = numbers.pop(0) if flags & 1 else None
    return frames, numbers.pop(0) if flags & 2 else None


def _find_frames(data: bytes, position: int, first: _Header) -> tuple[int, list[tuple[int, int]]]:
    """The number of frames from `position` to the end, and where they lie; tags between them are left out."""
    known: dict[bytes, int] = {}  # header to size; there are few
    count, begin, spans = 0, position, []
    while position < len(data):
        head = data[position : position + 4]
        size = known.get(head)
        if size is None:
            header = _parse(head)
            if header is None:
                spans.append((begin, position))
                begin = position = _next_frame(data, position)
                continue
            if header.kind != first.kind:
                raise AudioError("its sampling rate or channels change within the file; convert the parts one by one")
            size = known[head] = header.size
        position += size
        count += 1
    if position > len(data):
        raise AudioError(TRUNCATED)
    return count, [*spans, (begin, position)]


def _next_frame(data: bytes, position: int) -> int:
    """Where frames go on after tags at `position`, or the end of the data where there are no more."""
    after = _skip_tags(io.BytesIO(data), position) if data.startswith(b"ID3", position) else position
    if data.startswith(b"TAG", position):
        after += 128
    if data.startswith(b"APETAGEX", position):
        after += 32 + int.from_bytes(data[position + 12 : position + 16], "little")
    if after > position:
        return after
    found = position
    while (found := data.find(b"\xff", found + 1)) >= 0:
        header = _parse(data[found : found + 4])
        if header and _parse(data[found + header.size : found + header.size + 4]):
            raise AudioError(f"damaged: there is something else than MP3 at byte {position}; convert it, e.g. to FLAC")
    return len(data)


def _xing_frame(head: bytes, frames: int) -> bytes:
    """A frame without audio that says how many frames follow, for a file whose first header is `head`."""
    # Without checksum and padding, and at the highest bit rate, so that there is room.
    new = bytes([head[0], head[1] | 1, 0xE0 | head[2] & 0x0C, head[3]])
    header = _parse(new)
    assert header is not None
    body = bytes(_xing_offset(header) - 4) + b"Info\0\0\0\1" + frames.to_bytes(4, "big")
    return (new + body).ljust(header.size, b"\0")
