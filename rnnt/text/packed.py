"""Texts as token ids on the disk: made once, read in any order afterwards, whatever their size.

A folder holds `ids.bin` (the ids of all lines behind each other, two or four bytes each), `lengths.npy` (tokens of each
line) and `about.json`. Only the lengths are held in memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnt.errors import UserError, counted
from rnnt.files import atomic_folder, file_sha256, read_json_object, write_json
from rnnt.progress import progress
from rnnt.text.lines import read_lines

if TYPE_CHECKING:
    from rnnt.text.tokenizer import Tokenizer

LINES_AT_ONCE = 10_000


class PackedText:
    """The lines of some texts.

    Attributes:
        lengths: int32 (N,), tokens of each line.
        words: of all lines.
        unknown: tokens that are the unknown one.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        about = read_json_object(folder / "about.json", "dtype", "words", "unknown")
        self.words, self.unknown = int(about["words"]), int(about["unknown"])
        self.lengths: np.ndarray = np.load(folder / "lengths.npy")
        self._first = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        self._ids = np.memmap(folder / "ids.bin", np.dtype(about["dtype"]), "r")

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, line: int) -> np.ndarray:
        """The ids of a line, int64."""
        return self._ids[self._first[line] : self._first[line + 1]].astype(np.int64)


def pack_texts(paths: Sequence[str], tokenizer: Tokenizer, cache: str | Path) -> PackedText:
    """The lines of text files as tokens, from a folder in `cache` if they are there already; blank lines are left out.

    Processes that want the same texts at the same time wait for the first one.

    Args:
        paths: UTF-8 text, .gz or plain, an utterance a line.
        tokenizer: makes the tokens.
        cache: is made.

    Raises:
        UserError: a file can't be read, or there is no text.
    """
    stats = []
    for path in paths:
        try:
            stat = Path(path).stat()
        except OSError as error:
            raise UserError(f"{path}: can't read the text: {error.strerror}") from None
        stats.append([str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns])
    key = {"tokens": file_sha256(tokenizer.model_path), "files": stats}
    folder = Path(cache) / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
    if not (folder / "about.json").is_file():
        with _alone(folder):
            if not (folder / "about.json").is_file():
                _pack(paths, tokenizer, folder, key)
    return PackedText(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    path = folder.with_name(f".{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror}; choose another --token-dir") from None
    with open(path, encoding="utf-8") as file:
        with contextlib.suppress(OSError):  # without locks each process makes its own, and the last one stays
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pack(paths: Sequence[str], tokenizer: Tokenizer, folder: Path, key: Mapping[str, object]) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32)
    lengths: list[np.ndarray] = []
    words = unknown = 0
    lines = (line for path in paths for _, line in read_lines(path))
    shown = iter(progress(lines, what="text to tokens", unit="line"))
    with atomic_folder(folder) as temporary:
        with open(temporary / "ids.bin", "wb") as file:
            while some := list(islice(shown, LINES_AT_ONCE)):
                encoded = [tokenizer.encode(line) for line in some]
                words += sum(len(line.split()) for line in some)
                ids = np.array([i for one in encoded for i in one], dtype=dtype)
                unknown += int((ids == tokenizer.unk_id).sum())
                lengths.append(np.array([len(one) for one in encoded], dtype=np.int32))
                file.write(ids.tobytes())
        if not lengths:
            raise UserError(f"{', '.join(paths)}: {counted(len(paths), 'file')} without text; give others")
        np.save(temporary / "lengths.npy", np.concatenate(lengths))
        write_json(temporary / "about.json", {**key, "dtype": dtype.name, "words": words, "unknown": unknown})
