"""Stage 3 against lhotse's own `compute_and_store_features`, on one core and on two.

    python benchmarks/features.py --manifest-dir egs/librispeech/ASR/data/manifests --sets train dev-mini test-mini

Ours are the splits of local/compute_fbank.py, started at the same time; lhotse's are its `num_jobs`. Both write lilcom
archives of the same features and are timed as whole processes, start included. The rounds of the variants take turns.
Where CPU seconds are fewer than wall seconds, the machine was busy with something else.
"""

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.options import make_parser, option, parse

FBANK = Path(__file__).resolve().parents[1] / "local" / "compute_fbank.py"
HOURS = 960

LHOTSE = """
import sys
from lhotse import CutSet, LilcomChunkyWriter, RecordingSet, SupervisionSet
from lhotse.features.kaldi.extractors import Fbank, FbankConfig

if __name__ == "__main__":
    folder, out, jobs, *sets = sys.argv[1:]
    for name in sets:
        recordings = RecordingSet.from_file(f"{folder}/{name}_recordings.jsonl.gz")
        supervisions = SupervisionSet.from_file(f"{folder}/{name}_supervisions.jsonl.gz")
        cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions).to_eager()
        cuts = cuts.compute_and_store_features(
            Fbank(FbankConfig(num_filters=80)), f"{out}/{name}", num_jobs=int(jobs), storage_type=LilcomChunkyWriter
        )
        cuts.to_file(f"{out}/{name}.jsonl.gz")
"""


@dataclass(frozen=True)
class BenchmarkOptions:
    """Benchmark."""

    sets: list[str] = option(help="names of the sets")
    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    rounds: int = option(3, "repetitions; medians are printed")
    skip_lhotse_jobs: bool = option(False, "leave out lhotse with two jobs, which may be very slow")


def check(process):
    if process.wait():
        raise SystemExit(f"{' '.join(map(str, process.args))}: ended with status {process.returncode}")


def ours(options, out, jobs):
    """Plan, splits and merge."""
    command = [sys.executable, FBANK, "--manifest-dir", options.manifest_dir, "--out", out, "--sets", *options.sets]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if jobs == 1:
        check(subprocess.Popen(command, **quiet))
    else:
        check(subprocess.Popen([*command, "--plan"], **quiet))
        splits = [subprocess.Popen([*command, "--split", f"{k + 1}/{jobs}"], **quiet) for k in range(jobs)]
        for process in splits:
            check(process)
        check(subprocess.Popen([*command, "--merge"], **quiet))


def lhotse(options, out, jobs):
    """Lhotse's extraction."""
    script = Path(out) / "lhotse_fbank.py"  # its processes import the program again: it needs a file
    script.write_text(LHOTSE)
    command = [sys.executable, script, options.manifest_dir, out, str(jobs), *options.sets]
    check(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def measure(function, options, jobs):
    """`(wall seconds, CPU seconds)` of one variant."""
    out = tempfile.mkdtemp(prefix="features-")
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    function(options, out, jobs)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def audio_hours(options):
    from rnnt.data.manifest import read_items

    paths = [Path(options.manifest_dir) / f"{name}_supervisions.jsonl.gz" for name in options.sets]
    return sum(item["duration"] for path in paths for _, item in read_items(path, 1)) / 3600


@program
def main(argv=None):
    """Print the table."""
    (options,), _ = parse(make_parser(__doc__, BenchmarkOptions), [BenchmarkOptions], argv)
    variants = {"lhotse, 1 job": (lhotse, 1), "ours, 1 job": (ours, 1), "ours, 2 jobs": (ours, 2)}
    if not options.skip_lhotse_jobs:
        variants["lhotse, 2 jobs"] = (lhotse, 2)
    times = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, (function, jobs) in variants.items():
            times[name].append(measure(function, options, jobs))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in times.items()}
    hours, one = audio_hours(options), medians["ours, 1 job"][0]
    print(f"{hours:.2f} h of audio, medians of {options.rounds} rounds")
    print(f"{'':16s} {'seconds':>8s} {'CPU':>7s} {'times ours, 1 job':>17s} {f'hours for {HOURS} h':>16s}")
    for name, (wall, cpu) in medians.items():
        print(f"{name:16s} {wall:8.1f} {cpu:7.1f} {wall / one:16.2f}x {wall * HOURS / hours / 3600:16.2f}")


if __name__ == "__main__":
    main()
