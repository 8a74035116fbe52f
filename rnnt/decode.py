"""Program: decode sets with a trained model and score them.

Writes ref.trn, hyp.trn, wer, errors.txt and summary.json of each set to <exp-dir>/decode_<decoding-method>/<set>/.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.options import make_parser, option, parse, to_dict
from rnnt.search.config import SearchConfig


@dataclass(frozen=True)
class DecodeConfig:
    """Decoding."""

    exp_dir: str = option("exp/train", "experiment folder with the checkpoints")
    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl and features.json (stage 6)")
    decode_sets: list[str] = option(["dev"], "sets to decode")
    epoch: int = option(0, "use epoch-N.pt; 0: the last one")
    avg: int = option(1, "average that many epochs, up to --epoch")
    best: int = option(0, "average the best N epochs by dev WER; 0: use --epoch and --avg")
    iter: int = option(0, "use checkpoint-N.pt; 0: use --epoch and --avg")
    max_duration: float = option(600.0, "seconds of audio in a batch, padding counted")
    num_workers: int = option(1, "processes that load features; 0: the program itself")
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores")
    unit: str = option("word", "what the error rate counts", choices=["word", "char"])

    def __post_init__(self):
        if not self.decode_sets:
            raise ValueError("--decode-sets needs at least one set")
        if self.max_duration <= 0:
            raise ValueError("--max-duration must be positive")
        for name in ("epoch", "best", "iter", "num_workers", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} can't be negative")
        if self.avg < 1:
            raise ValueError("--avg must be at least 1")


class Waiting:
    """Iterates over batches and counts the seconds spent in waiting for them."""

    def __init__(self, batches):
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self):
        iterator = iter(self._batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch


def decode_set(model, tokenizer, manifest, config, search_config, device):
    """Decode and score one set.

    manifest: `CutManifest`. Returns `(Report, {id: text} of the references, of the hypotheses, timing)`; timing has
    the seconds of audio, the wall seconds from features in memory to text (loading of features excluded), and their
    ratio, the real-time factor.
    """
    from rnnt.data.dataset import open_batches
    from rnnt.progress import progress
    from rnnt.scoring import score
    from rnnt.training.evaluate import decode_batches

    refs, hyps, speakers, audio = {}, {}, {}, 0.0
    batches = Waiting(open_batches(manifest, config.max_duration, num_workers=config.num_workers))
    start = time.perf_counter()
    bar = progress((), total=len(manifest), what=manifest.path.stem, unit="utt")
    for batch, nbest, _ in decode_batches(model, batches, tokenizer, search_config, device):
        for key, text, speaker, hypotheses in zip(batch.ids, batch.texts, batch.speakers, nbest):
            refs[key], hyps[key] = text, tokenizer.decode(hypotheses[0].tokens)
            if speaker != key:  # a batch names the utterance where the speaker isn't known
                speakers[key] = speaker
        audio += sum(batch.durations)
        bar.update(len(batch))
    bar.close()
    seconds = time.perf_counter() - start - batches.seconds
    refs, hyps = dict(sorted(refs.items())), dict(sorted(hyps.items()))
    timing = {"audio_seconds": round(audio, 3), "decoding_seconds": round(seconds, 3), "rtf": round(seconds / audio, 6)}
    return score(refs, hyps, config.unit, speakers), refs, hyps, timing


def write_results(folder, report, refs, hyps, summary):
    """Write the files of one decoded set."""
    from rnnt.files import atomic_write, write_json
    from rnnt.scoring.trn import write_trn

    folder.mkdir(parents=True, exist_ok=True)
    write_trn(folder / "ref.trn", refs)
    write_trn(folder / "hyp.trn", hyps)
    with atomic_write(folder / "wer") as file:
        file.writelines(f"{line}\n" for line in report.summary_lines())
    with atomic_write(folder / "errors.txt") as file:
        file.writelines(f"{line}\n" for line in report.error_lines())
    write_json(folder / "summary.json", {**report.summary(), **summary})


@program
def main(argv=None):
    """Decode and score."""
    parser = make_parser(__doc__, DecodeConfig, SearchConfig)
    (config, search_config), _ = parse(parser, (DecodeConfig, SearchConfig), argv)

    import torch

    from rnnt.data.config import check_same_features
    from rnnt.data.manifest import CutManifest
    from rnnt.errors import UserError
    from rnnt.training.averaging import Selection, load_for_decoding
    from rnnt.training.experiment import read_feature_config

    torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU; take --device cpu")
    device = torch.device(config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    manifest_dir = Path(config.manifest_dir)
    # Every set is opened before the first is decoded: a misspelt name should not cost an hour.
    manifests = [CutManifest(manifest_dir / f"{name}.jsonl") for name in config.decode_sets]
    selection = Selection(epoch=config.epoch, avg=config.avg, best=config.best, iter=config.iter)
    model, features, tokenizer, checkpoint = load_for_decoding(config.exp_dir, selection, manifest_dir)
    stored = manifest_dir / "features.json"
    check_same_features(read_feature_config(stored), features, stored, config.exp_dir)
    model.to(device)

    for name, manifest in zip(config.decode_sets, manifests):
        folder = Path(config.exp_dir) / f"decode_{search_config.decoding_method}" / name
        report, refs, hyps, timing = decode_set(model, tokenizer, manifest, config, search_config, device)
        summary = {
            "set": name,
            "checkpoint": checkpoint,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            **timing,
            "search": to_dict(search_config),
        }
        write_results(folder, report, refs, hyps, summary)
        print(f"{folder}: {report.summary_lines()[0]} RTF {timing['rtf']:.4f}", flush=True)


if __name__ == "__main__":
    main()
