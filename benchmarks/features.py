"""Stage 3 against lhotse's own `compute_and_store_features`, on one core and on two.

    python benchmarks/features.py --manifest-dir egs/librispeech/ASR/data/manifests --sets train dev-mini test-mini

rnnt: the splits of local/compute_fbank.py, started at the same time; lhotse: its `num_jobs`. Both write lilcom
archives of the same features and are timed as whole processes, start included. The rounds of the variants take turns.
With several cores, one process of lhotse has as many threads, one of rnnt two. Where CPU seconds are fewer than wall
seconds, the machine was busy with something else.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from memory import repeat

from rnnt.cli import program
from rnnt.data.manifest import read_items
from rnnt.options import make_parser, option, parse
from rnnt.prepare.corpus import manifest_paths

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

    sets: list[str] = option(help="names of the sets", nonempty=True)
    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    repeat: int = option(1, "copies of each utterance, under new ids: the start of the programs weighs less", minimum=1)
    rounds: int = option(3, "repetitions; medians are printed", minimum=1)
    skip_lhotse_jobs: bool = option(False, "leave out lhotse with two jobs, which may be very slow")


def check(process):
    if process.wait():
        raise SystemExit(f"{' '.join(map(str, process.args))}: ended with status {process.returncode}")


def start(command, cores):
    """Start a process that may use the first `cores` cores of the machine."""
    mine = set(sorted(os.sched_getaffinity(0))[:cores])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, mine), **quiet)


def rnnt(options, manifests, out, jobs, cores):
    """Plan, splits and merge."""
    command = [sys.executable, FBANK, "--manifest-dir", manifests, "--out", out, "--sets", *options.sets]
    if jobs == 1:
        check(start(command, cores))
    else:
        check(start([*command, "--plan"], cores))
        splits = [start([*command, "--split", f"{k + 1}/{jobs}"], cores) for k in range(jobs)]
        for process in splits:
            check(process)
        check(start([*command, "--merge"], cores))


def lhotse(options, manifests, out, jobs, cores):
    """Lhotse's extraction."""
    script = Path(out) / "lhotse_fbank.py"  # its processes import the program again: it needs a file
    script.write_text(LHOTSE)
    command = [sys.executable, script, manifests, out, str(jobs), *options.sets]
    check(start(command, cores))


def measure(function, options, manifests, jobs, cores):
    """`(wall seconds, CPU seconds)` of one variant."""
    out = tempfile.mkdtemp(prefix="features-")
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    function(options, manifests, out, jobs, cores)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def repeat_manifests(options, folder):
    """Write the manifests that are measured; returns how many hours they hold."""
    hours = 0
    for name in options.sets:
        for source, target in zip(manifest_paths(options.manifest_dir, name), manifest_paths(folder, name)):
            items = [item for _, item in read_items(source, 1)]
            repeat(source, target, options.repeat * len(items), ["id", *({"recording_id"} & items[0].keys())])
        hours += sum(item["duration"] for item in items) / 3600
    return hours * options.repeat


@program
def main(argv=None):
    """Print the table."""
    (options,), _ = parse(make_parser(__doc__, BenchmarkOptions), [BenchmarkOptions], argv)
    variants = {
        f"{function.__name__}, {jobs} job{'s' * (jobs > 1)}, {cores} core{'s' * (cores > 1)}": (function, jobs, cores)
        for jobs, cores in ((1, 1), (1, 2), (2, 2))
        for function in (lhotse, rnnt)
        if not (options.skip_lhotse_jobs and function is lhotse and jobs > 1)
    }
    times = {name: [] for name in variants}
    with tempfile.TemporaryDirectory(prefix="manifests-") as manifests:
        hours = repeat_manifests(options, Path(manifests))
        for _ in range(options.rounds):
            for name, (function, *size) in variants.items():
                times[name].append(measure(function, options, manifests, *size))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in times.items()}
    one = medians["rnnt, 1 job, 1 core"][0]
    print(f"{hours:.2f} h of audio, medians of {options.rounds} rounds")
    print(f"{'':23s} {'seconds':>8s} {'CPU':>7s} {'times rnnt, 1 core':>18s} {f'hours for {HOURS} h':>16s}")
    for name, (wall, cpu) in medians.items():
        print(f"{name:23s} {wall:8.1f} {cpu:7.1f} {wall / one:17.2f}x {wall * HOURS / hours / 3600:16.2f}")


if __name__ == "__main__":
    main()
