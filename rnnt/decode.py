"""Program: decode sets with a trained model and score them.

Writes ref.trn, hyp.trn, wer, errors.txt, utterances.jsonl, report.html and summary.json of each set
to <exp-dir>/decode_<decoding-method>/<set>/.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.options import make_parser, option, parse, to_dict
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.training.config import Selection


def split_of(text):
    """`K/N` as two numbers, (1, 1) for an empty text; raises ValueError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--split is K/N, such as 1/4, not {text!r}")
    return int(found[1]), int(found[2])


@dataclass(frozen=True)
class DecodeConfig:
    """Decoding."""

    exp_dir: str = option("exp/train", "experiment folder with the checkpoints")
    model_dir: str = option("", "decode with this model directory, not with checkpoints; results go to --exp-dir")
    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl and features.json (stage 6)")
    decode_sets: list[str] = option(["dev"], "sets to decode")
    max_duration: float = option(600.0, "seconds of audio in a batch, padding counted")
    num_workers: int = option(1, "processes that load features; 0: the program itself")
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores")
    unit: str = option("word", "what counts, intervals and alignments are of", choices=["word", "char"])
    split: str = option("", "K/N: decode only part K of N of each set, unless it is done; for arrays of jobs")
    merge: int = option(0, "score the N parts that --split K/N made, and decode nothing")

    def __post_init__(self):
        if not self.decode_sets:
            raise ValueError("--decode-sets needs at least one set")
        if self.max_duration <= 0:
            raise ValueError("--max-duration must be positive")
        for name in ("num_workers", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} can't be negative")
        if self.merge < 0 or (self.merge and self.split):
            raise ValueError("--merge takes a positive number, and no --split beside it")
        split_of(self.split)


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


def decode_part(model, tokenizer, manifest, config, search_config, device, frame_seconds, scorers=(), part=(1, 1)):
    """Decode part K of N of a set: every N-th batch of those that one job would have, so that N changes no result.

    manifest: `CutManifest`; frame_seconds: distance of two encoder frames; scorers: see `rnnt.search.search`; part:
    (K, N). Returns the objects of utterances.jsonl with the texts `ref` and `hyp`, and the wall seconds from features
    in memory to text (loading of features excluded).
    """
    from rnnt.data.dataset import open_batches
    from rnnt.progress import progress
    from rnnt.training.evaluate import decode_batches

    decoded, (number, count) = [], part
    loader = open_batches(manifest, config.max_duration, None, config.num_workers, number - 1, count)
    batches = Waiting(loader)
    total = loader.num_utterances
    start = time.perf_counter()
    bar = progress((), total=total, what=manifest.path.stem, unit="utt")
    for batch, nbest, _ in decode_batches(model, batches, tokenizer, search_config, device, scorers):
        batch.x_BTF = None  # only what is about the batch is kept
        texts = [[tokenizer.decode(h.tokens) for h in hypotheses] for hypotheses in nbest]
        decoded += ((batch, i, nbest[i], texts[i]) for i in range(len(batch)))
        bar.update(len(batch))
    bar.close()
    seconds = time.perf_counter() - start - batches.seconds
    return [describe_utterance(*item, tokenizer, frame_seconds) for item in decoded], seconds


def describe_utterance(batch, i, nbest, texts, tokenizer, frame_seconds):
    """The object of utterance i of a batch in utterances.jsonl, with the texts `ref` and `hyp`.

    Times are in seconds, scores natural logarithms.
    """
    from rnnt.search.words import words

    best, key = nbest[0], batch.ids[i]
    placed = [
        {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
        for w in words(best, tokenizer.pieces, frame_seconds)
    ]
    # A batch names the utterance where the speaker isn't known.
    speaker = batch.speakers[i] if batch.speakers[i] != key else None
    utterance = {"id": key, "speaker": speaker, "seconds": round(batch.durations[i], 3), "audio": batch.audio[i]}
    utterance.update(score=round(best.score, 4), words=placed)
    if len(nbest) > 1:
        utterance["nbest"] = [{"score": round(h.score, 4), "text": text} for h, text in zip(nbest, texts)]
    return {**utterance, "ref": batch.texts[i], "hyp": texts[0]}


def write_results(folder, name, unit, heads, utterances):
    """Score a decoded set, write its folder and print its line. heads: those of its parts, see `rnnt.scoring.parts`."""
    from rnnt.scoring import score
    from rnnt.scoring.folder import write_folder

    refs = {utterance["id"]: utterance.pop("ref") for utterance in utterances}
    hyps = {utterance["id"]: utterance.pop("hyp") for utterance in utterances}
    speakers = {utterance["id"]: utterance["speaker"] for utterance in utterances if utterance["speaker"]}
    report = score(refs, hyps, unit, speakers)
    audio = round(sum(utterance["seconds"] for utterance in utterances), 3)
    seconds = sum(head["seconds"] for head in heads)
    key = heads[0]["key"]
    summary = {
        "set": name,
        "checkpoint": key["checkpoint"],
        **heads[0]["facts"],
        "audio_seconds": audio,
        "decoding_seconds": round(seconds, 3),
        "rtf": round(seconds / audio, 6),
        "search": key["search"],
        "fusion": key["fusion"],
    }
    write_folder(folder, report, utterances, summary)
    print(f"{folder}: {report.headline()} RTF {summary['rtf']:.4f}", flush=True)


def stamps(paths):
    """Name, size and time of files: what they held, cheaply."""
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in map(Path, paths)]


@program
def main(argv=None):
    """Decode and score."""
    options = (DecodeConfig, Selection, SearchConfig, FusionConfig)
    (config, selection, search_config, fusion_config), _ = parse(make_parser(__doc__, *options), options, argv)

    from rnnt.scoring.parts import has_part, part_path, read_parts, remove_parts, write_part

    folders = {
        name: Path(config.exp_dir) / f"decode_{search_config.decoding_method}" / name for name in config.decode_sets
    }
    if config.merge:
        parts = {name: read_parts(folder, config.merge) for name, folder in folders.items()}
        for name, folder in folders.items():
            write_results(folder, name, config.unit, *parts[name])
            remove_parts(folder)
        return

    import torch

    from rnnt.data.config import check_same_features, read_feature_config
    from rnnt.data.manifest import CutManifest
    from rnnt.search.loading import load_scorers
    from rnnt.text.ngram import read_arpa
    from rnnt.training.averaging import choose, load_for_decoding
    from rnnt.training.distributed import pick_device, set_threads
    from rnnt.transcription.folder import read_model_folder

    set_threads(config.threads, processes=1)
    device = pick_device(config.device)
    manifest_dir = Path(config.manifest_dir)
    # Every set is opened before the first is decoded: a misspelt name should not cost an hour.
    manifests = {name: CutManifest(manifest_dir / f"{name}.jsonl") for name in config.decode_sets}
    if config.model_dir:
        files = sorted(path for path in Path(config.model_dir).glob("*") if path.is_file())
        model, features, tokenizer, checkpoint = read_model_folder(config.model_dir)
    else:
        files = choose(selection, config.exp_dir)[0]
        model, features, tokenizer, checkpoint = load_for_decoding(config.exp_dir, selection, manifest_dir)
    stored = manifest_dir / "features.json"
    check_same_features(read_feature_config(stored), features, stored, config.model_dir or config.exp_dir)
    scorers = load_scorers(fusion_config, tokenizer, read_arpa)
    frame_seconds = features.frame_shift * model.config.subsampling_factor
    model.to(device)
    fusion_files = [file for file in (fusion_config.lm, fusion_config.lodr_lm, fusion_config.context_file) if file]
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
    part = split_of(config.split)

    for name, manifest in manifests.items():
        key = {
            "checkpoint": checkpoint,
            "search": to_dict(search_config),
            "fusion": to_dict(fusion_config),
            "max_duration": config.max_duration,
            "files": stamps([*files, manifest.path, *fusion_files]),
        }
        path = part_path(folders[name], *part)
        if config.split and has_part(path, key):
            print(f"{path}: done before, kept", flush=True)
            continue
        utterances, seconds = decode_part(
            model, tokenizer, manifest, config, search_config, device, frame_seconds, scorers, part
        )
        head = {"key": key, "facts": facts, "seconds": seconds}
        if config.split:
            write_part(path, head, utterances)
            print(f"{path}: {len(utterances)} utterances", flush=True)
        else:
            utterances.sort(key=lambda utterance: utterance["id"])
            write_results(folders[name], name, config.unit, [head], utterances)


if __name__ == "__main__":
    main()
