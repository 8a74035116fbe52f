"""Program: decode sets with a trained model and score them.

Writes ref.trn, hyp.trn, wer, errors.txt, utterances.jsonl, report.html and summary.json of each set
to <exp-dir>/decode_<decoding-method>/<set>/.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.options import make_parser, option, parse, to_dict
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.training.config import Selection


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
    unit: str = option("word", "what the error rate counts", choices=["word", "char"])

    def __post_init__(self):
        if not self.decode_sets:
            raise ValueError("--decode-sets needs at least one set")
        if self.max_duration <= 0:
            raise ValueError("--max-duration must be positive")
        for name in ("num_workers", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} can't be negative")


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


def decode_set(model, tokenizer, manifest, config, search_config, device, frame_seconds, scorers=()):
    """Decode and score one set.

    manifest: `CutManifest`; frame_seconds: distance of two encoder frames; scorers: see `rnnt.search.search`. Returns
    `(Report, list of objects for utterances.jsonl, timing)`; timing has the seconds of audio, the wall seconds from
    features in memory to text (loading of features excluded), and their ratio, the real-time factor.
    """
    from rnnt.data.dataset import open_batches
    from rnnt.progress import progress
    from rnnt.scoring import score
    from rnnt.training.evaluate import decode_batches

    decoded, audio = {}, 0.0
    batches = Waiting(open_batches(manifest, config.max_duration, num_workers=config.num_workers))
    start = time.perf_counter()
    bar = progress((), total=len(manifest), what=manifest.path.stem, unit="utt")
    for batch, nbest, _ in decode_batches(model, batches, tokenizer, search_config, device, scorers):
        texts = [[tokenizer.decode(h.tokens) for h in hypotheses] for hypotheses in nbest]
        for key, *values in zip(batch.ids, batch.texts, batch.speakers, batch.durations, nbest, texts):
            decoded[key] = values
        audio += sum(batch.durations)
        bar.update(len(batch))
    bar.close()
    seconds = time.perf_counter() - start - batches.seconds
    timing = {"audio_seconds": round(audio, 3), "decoding_seconds": round(seconds, 3), "rtf": round(seconds / audio, 6)}
    decoded = dict(sorted(decoded.items()))
    refs = {key: ref for key, (ref, *_) in decoded.items()}
    hyps = {key: texts[0] for key, (*_, texts) in decoded.items()}
    # A batch names the utterance where the speaker isn't known.
    speakers = {key: speaker for key, (_, speaker, *_) in decoded.items() if speaker != key}
    sources = audio_sources(manifest)
    utterances = [
        describe_utterance(key, speakers.get(key), length, sources[key], nbest, texts, tokenizer, frame_seconds)
        for key, (_, _, length, nbest, texts) in decoded.items()
    ]
    return score(refs, hyps, config.unit, speakers), utterances, timing


def audio_sources(manifest):
    """{cut id: the audio files it is made of}; an empty list where the cut has only features."""
    sources = {}
    for number in range(len(manifest)):
        cut = manifest[number]
        parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
        recordings = [part.recording for part in parts if getattr(part, "has_recording", False)]
        sources[cut.id] = [str(source.source) for r in recordings for source in r.sources if source.type == "file"]
    return sources


def describe_utterance(key, speaker, seconds, audio, nbest, texts, tokenizer, frame_seconds):
    """The object of one utterance in utterances.jsonl; times are in seconds, scores natural logarithms."""
    from rnnt.search.words import words

    best = nbest[0]
    placed = [
        {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
        for w in words(best, tokenizer.pieces, frame_seconds)
    ]
    utterance = {"id": key, "speaker": speaker, "seconds": round(seconds, 3), "audio": audio}
    utterance.update(score=round(best.score, 4), words=placed)
    if len(nbest) > 1:
        utterance["nbest"] = [{"score": round(h.score, 4), "text": text} for h, text in zip(nbest, texts)]
    return utterance


@program
def main(argv=None):
    """Decode and score."""
    options = (DecodeConfig, Selection, SearchConfig, FusionConfig)
    (config, selection, search_config, fusion_config), _ = parse(make_parser(__doc__, *options), options, argv)

    import torch

    from rnnt.data.config import check_same_features
    from rnnt.data.manifest import CutManifest
    from rnnt.scoring.folder import write_folder
    from rnnt.search.loading import load_scorers
    from rnnt.text.ngram import read_arpa
    from rnnt.training.averaging import load_for_decoding
    from rnnt.training.distributed import pick_device, set_threads
    from rnnt.training.experiment import read_feature_config
    from rnnt.transcription.folder import read_model_folder

    set_threads(config.threads, processes=1)
    device = pick_device(config.device)
    manifest_dir = Path(config.manifest_dir)
    # Every set is opened before the first is decoded: a misspelt name should not cost an hour.
    manifests = [CutManifest(manifest_dir / f"{name}.jsonl") for name in config.decode_sets]
    if config.model_dir:
        model, features, tokenizer, checkpoint = read_model_folder(config.model_dir)
    else:
        model, features, tokenizer, checkpoint = load_for_decoding(config.exp_dir, selection, manifest_dir)
    stored = manifest_dir / "features.json"
    check_same_features(read_feature_config(stored), features, stored, config.model_dir or config.exp_dir)
    scorers = load_scorers(fusion_config, tokenizer, read_arpa)
    frame_seconds = features.frame_shift * model.config.subsampling_factor
    model.to(device)

    for name, manifest in zip(config.decode_sets, manifests):
        folder = Path(config.exp_dir) / f"decode_{search_config.decoding_method}" / name
        report, utterances, timing = decode_set(
            model, tokenizer, manifest, config, search_config, device, frame_seconds, scorers
        )
        summary = {
            "set": name,
            "checkpoint": checkpoint,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            **timing,
            "search": to_dict(search_config),
            "fusion": to_dict(fusion_config),
        }
        write_folder(folder, report, utterances, summary)
        print(f"{folder}: {report.summary_lines()[0]} RTF {timing['rtf']:.4f}", flush=True)


if __name__ == "__main__":
    main()
