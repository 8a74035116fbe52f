"""Text for a language model: Jane Austen's six novels, written like the transcripts, a sentence or clause per line.

    get_novels.py --rdb /usr/lib/R/site-library/janeaustenr/data/Rdata.rdb --out data/novels.txt

They are in the public domain (Project Gutenberg) and come with the R package janeaustenr, Debian's r-cran-janeaustenr;
R itself is not needed. None of them is among the books of the mini parts.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError, counted
from rnnt.files import atomic_write
from rnnt.options import make_parser, option, parse

# A string in R's serialisation: flags whose last byte is 9, its length, its bytes.
STRING = re.compile(rb"\x00[\x00\x02\x04\x08\x0c][\x00-\xff]\x09")
TITLES = {"Mr.": "MISTER", "Mrs.": "MISSUS", "Dr.": "DOCTOR", "St.": "SAINT"}


@dataclass(frozen=True)
class NovelOptions:
    """Novels."""

    rdb: str = option(
        "/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb", "file of the R package janeaustenr with the novels"
    )
    out: str = option("data/novels.txt", "text to write")


def objects(data: bytes) -> Iterator[bytes]:
    """The objects of an R database: each has its size in four bytes, then a zlib stream."""
    while len(data) > 4:
        stream = zlib.decompressobj()
        yield stream.decompress(data[4:])
        data = stream.unused_data


def strings(data: bytes) -> Iterator[str]:
    """The lines of a novel, a serialised vector of strings."""
    for match in STRING.finditer(data):
        (size,) = struct.unpack(">i", data[match.end() : match.end() + 4])
        if 0 <= size < 2000:
            yield data[match.end() + 4 : match.end() + 4 + size].decode("latin-1")


def sentences(text: str) -> Iterator[str]:
    """Sentences and clauses in capitals, without punctuation; those of one word are left out."""
    text = re.sub(r"\b(chapter|volume)\b.*", "", text.replace("_", ""), flags=re.IGNORECASE)
    for title, word in TITLES.items():
        text = text.replace(title, word)
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in re.split(r"(?<=[.!?;:])\s+", " ".join(paragraph.split())):
            plain = re.sub(r"[^A-Z']", " ", sentence.upper())
            words = [word.strip("'") for word in plain.split()]
            words = [word for word in words if word]
            if len(words) > 1:
                yield " ".join(words)


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, NovelOptions), [NovelOptions], argv)
    try:
        text = "\n\n".join("\n".join(strings(novel)) for novel in objects(Path(options.rdb).read_bytes()))
    except (OSError, zlib.error) as error:
        raise UserError(f"{options.rdb}: {error}; install r-cran-janeaustenr, or name its Rdata.rdb") from None
    lines = list(sentences(text))
    with atomic_write(Path(options.out)) as file:
        file.writelines(f"{line}\n" for line in lines)
    words = sum(len(line.split()) for line in lines)
    print(f"{options.out}: {counted(words, 'word')} in {counted(len(lines), 'line')}")


if __name__ == "__main__":
    main()
