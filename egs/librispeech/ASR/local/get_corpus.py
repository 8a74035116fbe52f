"""Stage 0: find the parts of LibriSpeech, and download those that are missing.

A part is used where it lies, in DL_DIR/LibriSpeech/<part> or DL_DIR/<part>. An archive DL_DIR/<part>.tar.gz is
unpacked, any other is downloaded first and removed after that. The MD5 of each archive must be that of
local/archives.txt. Writes OUT/source.json.
"""

from dataclasses import dataclass
from pathlib import Path

from options import CorpusOptions

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import read_json, write_json
from rnnt.options import make_parser, option, parse

ARCHIVES = Path(__file__).with_name("archives.txt")


@dataclass(frozen=True)
class GetCorpusOptions(CorpusOptions):
    """Corpus."""

    out: str = option("data/corpus", "folder of source.json")
    url: str = option("https://www.openslr.org/resources/12", "address of the folder of the archives")
    archives: str = option(str(ARCHIVES), "file of lines `MD5 part megabytes`")


def read_archives(path: str | Path) -> dict[str, tuple[str, int]]:
    """`{part: (MD5, bytes)}`."""
    lines = (line.split() for line in Path(path).read_text(encoding="ascii").splitlines())
    return {part: (md5, int(megabytes) * 1_000_000) for md5, part, megabytes in lines}


def find_corpus(dl_dir: Path, parts: list[str]) -> Path:
    """The folder that holds the parts, or should: DL_DIR/LibriSpeech, or DL_DIR itself where it has one of them."""
    if any((dl_dir / part).is_dir() for part in parts):
        return dl_dir
    return dl_dir / "LibriSpeech"


def check_space(dl_dir: Path, missing: list[str], archives: dict[str, tuple[str, int]]) -> None:
    """Refuse to begin what the disk can't hold: all that is unpacked, and the largest archive beside it."""
    from rnnt.prepare.download import check_room

    needed, largest = 0, 0
    for part in missing:
        size = archives[part][1]
        needed += size
        if not (dl_dir / f"{part}.tar.gz").is_file():
            begun = dl_dir / f"{part}.tar.gz.part"
            largest = max(largest, size - (begun.stat().st_size if begun.is_file() else 0))
    check_room(dl_dir, needed + largest, f"getting {' '.join(missing)}")


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, GetCorpusOptions), [GetCorpusOptions], argv)
    parts = options.parts
    from rnnt.prepare.download import get_folder

    out = Path(options.out) / "source.json"
    dl_dir = Path(options.dl_dir or (read_json(out)["dl_dir"] if out.is_file() else "download")).resolve()
    corpus = find_corpus(dl_dir, parts)
    archives = read_archives(options.archives)
    missing = [part for part in parts if not (corpus / part).is_dir()]
    unknown = [part for part in missing if part not in archives]
    if unknown:
        raise UserError(f"{corpus / unknown[0]}: no such folder, and the parts to download are {' '.join(archives)}")
    if missing:
        check_space(dl_dir, missing, archives)
    for part in missing:
        archive = dl_dir / f"{part}.tar.gz"
        get_folder(f"{options.url}/{archive.name}", archive, archives[part][0], corpus, part)
        print(f"{part}: unpacked in {corpus / part}")
    write_json(out, {"dl_dir": str(dl_dir), "path": str(corpus), "parts": parts})
    print(f"corpus: {' '.join(parts)} in {corpus}")


if __name__ == "__main__":
    main()
