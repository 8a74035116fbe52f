"""Host memory of the stages and of training for each utterance, and the time to the first batch.

    cd egs/librispeech/ASR && . ./path.sh && python $RNNT_ROOT/benchmarks/memory.py --train-set train

Takes a recipe folder after stage 6 and makes manifests of any size by repeating its training set under new ids. Each
program runs as a process of its own on many utterances and on a tenth of them; the difference of the two peaks of
memory, divided by the difference in utterances, is what an utterance costs.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from rnnt.cli import program
from rnnt.data.manifest import read_items
from rnnt.options import make_parser, option, parse
from rnnt.prepare.corpus import manifest_paths

ROOT = Path(__file__).resolve().parents[1]

FIRST_BATCH = """
import sys, time
start = time.perf_counter()
from rnnt.data.config import AugmentConfig
from rnnt.data.dataset import Batches, PlannedBatches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.data.plan import plan_epoch
from rnnt.text.tokenizer import Tokenizer

manifest, tokenizer = CutManifest(sys.argv[1]), Tokenizer.load(sys.argv[2])
plan = plan_epoch(manifest.durations, 200.0, 42, 1)
loader = open_feature_loader(manifest, AugmentConfig(enable_spec_aug=False))
batches = iter(Batches(PlannedBatches(manifest, plan, loader, tokenizer), range(len(plan)), 2))
next(batches)
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class MemoryOptions:
    """Benchmark."""

    utterances: int = option(300000, "size of the manifests of all but stage 6", minimum=1)
    validate_utterances: int = option(20000, "size of the manifest of stage 6, which reads all features", minimum=1)
    train_set: str = option("train", "name of the training set")
    bpe_model: str = option("data/lang_bpe_500/bpe.model", "tokenizer")
    data: str = option("data", "folder of the recipe's data")


def repeat(source, target, number, fields):
    """Write `number` lines to `target`: those of `source` again and again, with new ids in `fields`."""
    with gzip.open(source, "rt") if source.suffix == ".gz" else open(source) as file:
        items = [json.loads(line) for line in file]
    with gzip.open(target, "wt", compresslevel=1) if target.suffix == ".gz" else open(target, "w") as file:
        for i, item in enumerate(islice(cycle(items), number)):
            file.write(json.dumps({**item, **{f: f"{item[f]}-{i // len(items)}" for f in fields}}) + "\n")


def peak(command):
    """`(bytes of memory at most, seconds, output)` of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    if status:
        raise SystemExit(f"{' '.join(map(str, command))}: ended with wait status {status}")
    return usage.ru_maxrss * 1024, time.perf_counter() - start, output


def stage_1(options, folder, number):
    """Peak memory and seconds of the import of a Kaldi data directory."""
    manifests = manifest_paths(f"{options.data}/manifests", options.train_set)
    recordings, supervisions = (list(read_items(path, 1)) for path in manifests)
    paths = {item["id"]: Path(item["sources"][0]["source"]).resolve() for _, item in recordings}
    kaldi = folder / "kaldi"
    kaldi.mkdir()
    names = ("wav.scp", "text", "utt2spk")
    with ExitStack() as stack:
        wav, text, speakers = (stack.enter_context((kaldi / name).open("w")) for name in names)
        for i, (_, item) in enumerate(islice(cycle(supervisions), number)):
            key = f"{item['id']}-{i // len(supervisions)}"
            wav.write(f"{key} {paths[item['recording_id']]}\n")
            text.write(f"{key} {item['text']}\n")
            speakers.write(f"{key} {item['speaker']}\n")
    return peak(
        [sys.executable, ROOT / "local/import_corpus.py", "--sets", f"train={kaldi}", "--out", folder / "manifests",
         "--nj", "2"]
    )  # fmt: skip


def stage_7(options, folder, number):
    """Peak memory and seconds of the token bigram."""
    lang = Path(options.bpe_model).parent
    shutil.copy(options.bpe_model, folder)
    texts = (lang / "transcript_words.txt").read_text().splitlines()
    with (folder / "transcript_words.txt").open("w") as file:
        file.writelines(text + "\n" for text in islice(cycle(texts), number))
    return peak([sys.executable, ROOT / "local/make_ngram.py", "--lang-dir", folder, "--order", "2"])


def plan_stage_3(options, folder, number):
    """Peak memory and seconds of listing the cuts."""
    manifests = folder / "manifests"
    manifests.mkdir()
    name = options.train_set
    kinds = zip(
        manifest_paths(f"{options.data}/manifests", name),
        manifest_paths(manifests, name),
        (["id"], ["id", "recording_id"]),
    )
    for source, target, fields in kinds:
        repeat(source, target, number, fields)
    return peak(
        [sys.executable, ROOT / "local/compute_fbank.py", "--manifest-dir", manifests, "--sets", name,
         "--train-set", name, "--out", folder / "fbank", "--plan"]
    )  # fmt: skip


def stage_6(options, folder, number):
    """Peak memory and seconds of validation."""
    fbank, name = folder / "fbank", options.train_set
    fbank.mkdir()
    repeat(Path(options.data) / "fbank" / f"{name}.jsonl.gz", fbank / f"{name}.jsonl.gz", number, ["id"])
    shutil.copy(Path(options.data) / "fbank" / "features.json", fbank)
    return peak(
        [sys.executable, ROOT / "local/validate.py", "--fbank-dir", fbank, "--out", folder / "cuts", "--sets", name,
         "--train-set", name, "--bpe-model", options.bpe_model, "--max-drop", 100]
    )  # fmt: skip


def first_batch(options, folder, number):
    """Peak memory of the process and seconds to the first batch, for which the index of the manifest is made."""
    path = folder / "train.jsonl"
    repeat(Path(options.data) / "cuts" / f"{options.train_set}.jsonl", path, number, ["id"])
    shutil.copy(Path(options.data) / "cuts" / "features.json", folder)
    memory, _, output = peak([sys.executable, "-c", FIRST_BATCH, path, options.bpe_model])
    return memory, float(output.split()[-1])


@program
def main(argv=None):
    """Print the table."""
    (options,), _ = parse(make_parser(__doc__, MemoryOptions), [MemoryOptions], argv)
    rows = [
        ("stage 1, import", stage_1, options.utterances),
        ("stage 3, list of cuts", plan_stage_3, options.utterances),
        ("stage 6, validation", stage_6, options.validate_utterances),
        ("stage 7, bigram", stage_7, options.utterances),
        ("training, first batch", first_batch, options.utterances),
    ]
    print(f"{'':22s} {'utterances':>10s} {'peak, MB':>9s} {'bytes per utterance':>19s} {'seconds':>8s}")
    for title, function, number in rows:
        results = []
        for size in (number // 10, number):
            with tempfile.TemporaryDirectory(prefix="memory-") as folder:
                results.append(function(options, Path(folder), size))
        (small, *_), (large, seconds, *_) = results
        each = (large - small) / (number - number // 10)
        print(f"{title:22s} {number:10d} {large / 1e6:9.0f} {each:19.0f} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
