"""Training from shards: time and memory to the first micro-batch of a large set, and how fast shards are read.

    python benchmarks/shards.py --utterances 10000000

Writes some shards of made features, whose durations are those of LibriSpeech, and lists them as often as the size asks
for. Everything that training does to its first micro-batch is timed: list, epoch, plan, reading, with two loader
processes. Then the micro-batches of one window are read by one process.
"""

import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnt.cli import program
from rnnt.data.config import AugmentConfig, BatchConfig, FeatureConfig
from rnnt.data.manifest import Manifest
from rnnt.options import make_parser, option, parse

FRAMES = 100  # per second


@dataclass(frozen=True)
class ShardsOptions:
    """Benchmark."""

    utterances: int = option(10_000_000, "size of the list", minimum=1)
    shards: int = option(8, "shards that are written", minimum=1)
    shard_size: int = option(1000, "utterances in a shard", minimum=1)
    max_duration: float = option(600.0, "seconds of audio in a micro-batch, padding counted", above=0)


class MadeManifest(Manifest):
    """Cuts whose features are made: smooth in time, as those of speech are."""

    def __init__(self, number: int) -> None:
        self.path = Path("made")
        generator = np.random.default_rng(0)
        self.durations = np.round(np.clip(generator.normal(12.3, 3.8, number), 1.5, 20), 2).astype(np.float32)

    def __len__(self) -> int:
        return len(self.durations)

    def __getitem__(self, number: int):
        """The cut with that number."""
        from lhotse import Features, MonoCut, SupervisionSegment

        frames = round(float(self.durations[number]) * FRAMES)
        steps_TF = 0.3 * np.random.default_rng(number).standard_normal((frames, 80), dtype=np.float32)
        x_TF = np.cumsum(steps_TF, 0) - 8
        key, seconds = f"utt-{number}", frames / FRAMES
        features = Features(
            type="kaldi-fbank", num_frames=frames, num_features=80, frame_shift=0.01, sampling_rate=16000, start=0.0,
            duration=seconds, storage_type="memory_raw", storage_path="", storage_key=x_TF.tobytes(), channels=0,
        )  # fmt: skip
        features.load = lambda *args, **keywords: x_TF
        text = SupervisionSegment(key, key, 0.0, seconds, text="some words that were said")
        return MonoCut(key, 0.0, seconds, 0, supervisions=[text], features=features)


def write_shards(folder: Path, options: ShardsOptions) -> None:
    """Write the shards, and a list of `options.utterances`."""
    from itertools import cycle, islice

    from rnnt.data.sets.shards import write_index
    from rnnt.prepare.shard_writer import ShardWriter, shard_numbers

    manifest = MadeManifest(options.shards * options.shard_size)
    numbers = shard_numbers(len(manifest), options.shard_size, None)
    writer = ShardWriter(manifest, numbers, FeatureConfig(), "features", folder / "train")
    for number in range(len(numbers)):
        writer.write(number)
    entries = list(writer.entries())
    write_index(folder / "train.shards", list(islice(cycle(entries), -(-options.utterances // options.shard_size))))


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ShardsOptions), [ShardsOptions], argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = multiprocessing.Process(target=write_shards, args=(folder, options))  # its memory is not counted
        maker.start()
        maker.join()
        start = time.perf_counter()
        from rnnt.data.dataset import Batches, PlannedBatches
        from rnnt.data.feature_loader import FeatureLoader
        from rnnt.data.plan import plan_training
        from rnnt.data.sets.config import MixConfig
        from rnnt.data.sets.opening import open_mixture

        (folder / "features.json").write_text("{}")
        manifest = open_mixture(folder, "train", MixConfig())
        listed = time.perf_counter() - start
        batch = BatchConfig(max_duration=options.max_duration)
        plan = plan_training(batch, manifest.durations, 1, 1, manifest.epoch(batch.seed, 1))
        planned = time.perf_counter() - start
        loader = FeatureLoader(FeatureConfig(), AugmentConfig(), np.zeros(80, np.float32))
        dataset = PlannedBatches(manifest, plan, loader, seed=batch.seed, epoch=1)
        next(iter(Batches(dataset, range(len(plan)), 2)))
        first = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        hours = manifest.durations.sum(dtype=np.float64) / 3600
        print(
            f"{len(manifest):,} utterances, {hours:,.0f} h: list read after {listed:.1f} s, plan of {len(plan):,} "
            f"micro-batches after {planned:.1f} s, first micro-batch after {first:.1f} s; {peak:.2f} GB",
            flush=True,
        )
        megabytes = sum(path.stat().st_size for path in (folder / "train").glob("*")) / 1e6
        stored = float(MadeManifest(options.shards * options.shard_size).durations.sum())
        start, seconds = time.perf_counter(), 0.0
        for position in range(min(len(plan), 40)):
            seconds += sum(dataset[position].durations)
        elapsed = time.perf_counter() - start
        print(
            f"one process reads {seconds / elapsed:,.0f} s of audio a second; an hour of it is "
            f"{megabytes / stored * 3600:.0f} MB"
        )


if __name__ == "__main__":
    main()
