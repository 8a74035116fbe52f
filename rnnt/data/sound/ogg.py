"""Ogg (RFC 3533): whether a file is one complete stream. libsndfile reads the first stream only."""

from __future__ import annotations

from typing import BinaryIO

from rnnt.data.sound import AudioError
from rnnt.data.sound.containers import TRUNCATED

CAPTURE = b"OggS"
FIRST_PAGE, LAST_PAGE = 2, 4  # bits of a page's flags


def check_ogg(file: BinaryIO, size: int) -> None:
    """Walk over the headers of the pages, without decoding.

    Args:
        file: open for reading.
        size: of the file in bytes.

    Raises:
        AudioError: on several streams, missing pages, or an end that is not flagged as such.
    """
    position = ended = number = 0
    while position < size:
        file.seek(position)
        head = file.read(27)
        if not head.startswith(CAPTURE):
            if CAPTURE in head + file.read():
                raise AudioError(f"damaged: there is something else than Ogg at byte {position}; get it again")
            break
        lengths = file.read(head[26]) if len(head) == 27 else b""
        position += 27 + len(lengths) + sum(lengths)
        if len(head) < 27 or len(lengths) < head[26] or position > size:
            raise AudioError(TRUNCATED)
        flags, sequence = head[5], int.from_bytes(head[18:22], "little")
        if number and flags & FIRST_PAGE:
            raise AudioError("several Ogg streams, of which only the first would be read; convert it, e.g. to FLAC")
        if number and sequence != number:
            raise AudioError(f"damaged: Ogg page {number} is missing; get it again")
        number, ended = sequence + 1, flags & LAST_PAGE
    if not ended:
        raise AudioError(TRUNCATED)
