"""Stage 0: say where the recordings of the digits come from, and get them if need be.

In this order: the folder given by --dl-dir, used where it lies; a download of the Free Spoken Digit Dataset, each file
checked against local/sha256.txt; speech spoken by espeak-ng. Writes OUT/source.json; a download or synthetic speech
goes to OUT/recordings, as `<digit>_<speaker>_<index>.wav`, 8000 samples per second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import download
import speak
from options import CorpusOptions

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.files import read_json, write_json
from rnnt.options import make_parser, option, parse

LICENCE = "CC BY-SA 4.0, Free Spoken Digit Dataset"


@dataclass(frozen=True)
class GetCorpusOptions(CorpusOptions):
    """Corpus."""

    out: str = option("data/corpus", "folder of source.json and of what is downloaded or spoken")
    url: str = option(download.URL, "archive of the dataset's repository, .tar.gz")
    download_timeout: float = option(
        120.0, "longest time for the download in seconds; 0: no download", minimum=0, maximum=1_000_000
    )


def from_folder(options: GetCorpusOptions) -> dict[str, Any]:
    """The corpus in --dl-dir: its source.json entry."""
    folder = Path(options.dl_dir) / "fsdd" / "recordings"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --dl-dir must name the folder that holds fsdd/recordings")
    if not any(folder.glob("*.wav")):
        raise UserError(f"{folder}: holds no .wav file; put the recordings of the dataset there")
    different = download.differing_files(folder)
    if different:
        print(
            f"{folder}: {len(different)} of the published 3000 recordings are missing or differ, "
            f"such as {different[0]}; the WER is then not comparable"
        )
    return {"kind": "folder", "path": str(folder.resolve()), "licence": LICENCE, "held_out_speakers": ["theo"]}


def downloaded(options: GetCorpusOptions) -> dict[str, Any] | None:
    """The corpus downloaded into OUT/recordings, or None with a line that says why not."""
    if options.download_timeout <= 0:
        return None
    try:
        folder = download.fetch(options.url, Path(options.out) / "recordings", options.download_timeout)
    except download.DownloadError as error:
        print(f"download: {error}")
        return None
    return {"kind": "download", "path": str(folder), "licence": LICENCE, "held_out_speakers": ["theo"]}


def spoken(options: GetCorpusOptions) -> dict[str, Any]:
    """Synthetic speech in OUT/recordings."""
    folder = speak.speak_corpus(Path(options.out) / "recordings")
    return {
        "kind": "synthetic",
        "path": str(folder),
        "licence": "output of espeak-ng, free to use",
        "held_out_speakers": list(speak.HELD_OUT),
    }


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, GetCorpusOptions), [GetCorpusOptions], argv)
    out = Path(options.out) / "source.json"
    if not options.dl_dir and out.is_file():
        source = read_json(out)
        if Path(source["path"]).is_dir():
            print(f"corpus: {source['kind']}, already in {source['path']}; remove {options.out} to get it again")
            return
    source = from_folder(options) if options.dl_dir else downloaded(options) or spoken(options)
    write_json(out, source)
    print(f"corpus: {source['kind']}, {source['path']} ({source['licence']})")
    if source["kind"] == "synthetic":
        print("NOTICE: this is SYNTHETIC speech. The WER is not comparable with results on the real recordings.")


if __name__ == "__main__":
    main()
