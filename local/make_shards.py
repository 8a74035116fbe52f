"""Write sets in shards (lhotse's Shar format) for disks and networks that are slow at random places.

    python $RNNT_ROOT/local/make_shards.py --manifest-dir data/cuts \\
      --sets train dev --out data/shards
    train.py --manifest-dir data/shards ...

OUT gets a folder for each set, and features.json, cmvn.json and the like, so that it takes the place of --manifest-dir.
What is complete is kept: a call that was stopped continues. With --split K/N each of N calls writes a part of the
shards; one without --split, after them, writes what is missing and the lists of shards.
"""

import contextlib
import multiprocessing
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnt.cli import parse_split, program
from rnnt.errors import UserError, counted
from rnnt.files import copy_file, read_json, write_json
from rnnt.names import check_set_names
from rnnt.options import make_parser, option, parse

BESIDE = ("features.json", "cmvn.json", "left_out.json", "statistics.json")


@dataclass(frozen=True)
class Contents:
    """What is in a shard."""

    data: str = option("features", "what a shard has of each utterance", choices=["features", "audio"])
    shard_size: int = option(1000, "utterances in a shard", minimum=1)
    shuffle: bool = option(True, "utterances in an order that is drawn, so that a few shards are a sample of all")
    seed: int = option(42, "seed of that order", minimum=0)


@dataclass(frozen=True)
class ShardOptions:
    """Shards."""

    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl and features.json (stage 6)")
    sets: list[str] = option(["train"], "sets", nonempty=True)
    out: str = option("data/shards", "folder to write")
    nj: int = option(1, "processes", minimum=1, maximum=1024)
    split: str = option("", "K/N: write only part K of N of the shards; for arrays of jobs")

    def __post_init__(self) -> None:
        check_set_names(self.sets, "--sets")
        parse_split(self.split)


@program
def main(argv: list[str] | None = None) -> None:
    (options, contents), _ = parse(make_parser(__doc__, ShardOptions, Contents), [ShardOptions, Contents], argv)

    from rnnt.data.config import read_feature_config
    from rnnt.data.manifest import CutManifest
    from rnnt.data.sets.shards import index_path, write_index
    from rnnt.prepare.shard_writer import ShardWriter, shard_numbers
    from rnnt.progress import progress

    source, out = Path(options.manifest_dir), Path(options.out)
    if source.resolve() == out.resolve():
        raise UserError(f"--out {out} is --manifest-dir; choose another folder")
    config = read_feature_config(source / "features.json")
    seed = contents.seed if contents.shuffle else None
    field = {"features": "features", "audio": "recording"}[contents.data]
    writers = {}
    for name in options.sets:
        manifest = CutManifest(source / f"{name}.jsonl")
        record = {**asdict(contents), "utterances": len(manifest), "hours": float(manifest.durations.sum() / 3600)}
        stamp = out / f"{name}.inputs.json"  # lhotse takes every file in a folder of shards for a part of one
        if stamp.is_file() and read_json(stamp) != record:
            raise UserError(
                f"{out / name}: has shards of other utterances or options; remove it, or choose another --out"
            )
        numbers = shard_numbers(len(manifest), contents.shard_size, seed)
        writers[name] = (stamp, record, ShardWriter(manifest, numbers, config, field, out / name))
    for name in BESIDE:
        if (source / name).is_file():
            copy_file(source / name, out / name)
    part, parts = parse_split(options.split)
    for name, (stamp, record, writer) in writers.items():
        write_json(stamp, record)
        own = range(part - 1, len(writer.numbers), parts)
        with multiprocessing.Pool(options.nj) if options.nj > 1 else contextlib.nullcontext() as pool:
            written = pool.imap_unordered(writer.write, own) if pool else map(writer.write, own)
            for _ in progress(written, len(own), f"shards of {name}", "shard"):
                pass
        if not options.split:
            write_index(index_path(out / name), list(writer.entries()))
        print(f"{out / name}: {counted(len(own), 'shard')}, {counted(len(writer.manifest), 'utterance')}", flush=True)


if __name__ == "__main__":
    main()
