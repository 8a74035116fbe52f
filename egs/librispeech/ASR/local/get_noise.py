"""Stage 0, on request: find MUSAN, or download it.

It is used where it lies, in DL_DIR/musan. An archive DL_DIR/musan.tar.gz is unpacked; else it is downloaded first and
removed after that. Its MD5 is checked. Makes OUT/musan, a link.
"""

from dataclasses import dataclass
from pathlib import Path

from options import FolderOptions

from rnnt.cli import program
from rnnt.files import read_json
from rnnt.options import make_parser, option, parse

ARCHIVE_BYTES = 11_100_000_000


@dataclass(frozen=True)
class NoiseOptions(FolderOptions):
    """Noise."""

    out: str = option("data/noise_corpus", "folder of the link")
    url: str = option("https://www.openslr.org/resources/17/musan.tar.gz", "address of the archive")
    md5: str = option("0c472d4fc0c5141eca47ad1ffeb2a7df", "MD5 of the archive")
    corpus: str = option("data/corpus", "folder of source.json, which knows the folder of the corpus")


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, NoiseOptions), [NoiseOptions], argv)
    from rnnt.prepare.download import check_room, get_folder

    source = Path(options.corpus) / "source.json"
    dl_dir = Path(options.dl_dir or (read_json(source)["dl_dir"] if source.is_file() else "download")).resolve()
    musan = dl_dir / "musan"
    if not musan.is_dir():
        archive = dl_dir / "musan.tar.gz"
        check_room(dl_dir, (1 if archive.is_file() else 2) * ARCHIVE_BYTES, "getting MUSAN")
        get_folder(options.url, archive, options.md5, dl_dir, "musan")
    link = Path(options.out) / "musan"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(musan)
    print(f"noise: {musan}")


if __name__ == "__main__":
    main()
