"""Make WAV files and the JSON manifest of NVIDIA's and DeepSpark's systems from the manifests of prepare.sh (stage 1).

Nothing here needs them: FLAC is read directly. Existing WAV files are kept.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.cli import program
from rnnt.data.audio import set_up_lhotse, write_audio
from rnnt.errors import UserError, counted, one_line
from rnnt.files import atomic_path, atomic_write
from rnnt.names import file_name
from rnnt.options import make_parser, option, parse
from rnnt.prepare.corpus import manifest_paths
from rnnt.progress import progress

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass(frozen=True)
class ConvertOptions:
    """Conversion."""

    set: str = option(help="set, such as dev-clean")
    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    out: str = option("wav", "folder of the WAV files, and of <set>-wav.json unless --json is given")
    json: str = option("", "the JSON manifest; names in it are relative to --out")
    nj: int = option(1, "threads", minimum=1, maximum=1024)


def convert(work: "tuple[Cut, str, str]") -> dict[str, Any]:
    """Write the WAV file of one `(cut, folder, name)` and return its entry in the manifest."""
    cut, folder, name = work
    path = Path(folder) / name
    supervision = cut.supervisions[0]
    if not path.is_file():
        try:
            samples = cut.load_audio()
        except Exception as error:  # the audio libraries raise many kinds
            problem = one_line(error)
            raise UserError(f"{cut.recording.sources[0].source}: unreadable audio: {problem}") from None
        with atomic_path(path) as temporary:
            write_audio(temporary, samples.T, cut.sampling_rate)
    file = {
        "fname": name,
        "channels": cut.num_channels or 1,
        "sample_rate": cut.sampling_rate,
        "bitdepth": 16,
        "encoding": "Signed Integer PCM",
        "silent": False,
        "duration": cut.duration,
        "num_samples": cut.num_samples,
        "speed": 1,
    }
    return {
        "transcript": (supervision.text or "").strip().lower(),
        "files": [file],
        "original_duration": cut.duration,
        "original_num_samples": cut.num_samples,
    }


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ConvertOptions), [ConvertOptions], argv)
    paths = manifest_paths(options.manifest_dir, options.set)
    from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

    from rnnt.data.manifest import read_items

    set_up_lhotse()
    recordings = RecordingSet.from_recordings(item for _, item in read_items(paths[0], 1, Recording.from_dict))
    supervisions = SupervisionSet.from_segments(
        item for _, item in read_items(paths[1], 1, SupervisionSegment.from_dict)
    )
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    # One cut for each, whatever else is said at the same time.
    cuts = cuts.trim_to_supervisions(keep_overlapping=False)
    work = [(cut, options.out, f"{options.set}/{file_name(cut.supervisions[0].id)}.wav") for cut in cuts]
    with ThreadPoolExecutor(options.nj) as pool:  # the audio library lets others work while it decodes
        entries = list(progress(pool.map(convert, work), len(work), options.set, "file"))
    out = Path(options.json or f"{options.out}/{options.set}-wav.json")
    with atomic_write(out) as file:
        json.dump(entries, file, indent=1, ensure_ascii=False)
    print(f"{options.set}: {counted(len(entries), 'file')} in {options.out}/{options.set}, manifest {out}")


if __name__ == "__main__":
    main()
