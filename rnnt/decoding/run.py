"""Decodes sets, all at once or in shards, and scores them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rnnt.checkpoints.averaging import TrainedModel, choose, load_for_decoding
from rnnt.checkpoints.model_dir import read_model_dir
from rnnt.cli import parse_split
from rnnt.data.config import check_same_features, read_feature_config
from rnnt.data.dataset import Batch, open_batches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.sets.config import MixConfig, SetWord
from rnnt.data.sets.opening import open_set
from rnnt.decoding.results import describe_utterance, write_results
from rnnt.distributed.device import pick_device, set_threads
from rnnt.errors import UserError, counted
from rnnt.files import read_json
from rnnt.model.encoders.streaming import choose_chunks
from rnnt.options import to_dict
from rnnt.progress import progress
from rnnt.scoring.shards import has_shard, read_shards, remove_shards, shard_path, write_shard
from rnnt.search.batches import decode_batches
from rnnt.search.needs import check_method
from rnnt.search.scorers import load_scorers
from rnnt.streaming.batches import check_streaming, stream_batches
from rnnt.streaming.config import WindowConfig

if TYPE_CHECKING:
    from rnnt.data.manifest import Manifest
    from rnnt.decoding.config import DecodeConfig
    from rnnt.decoding.settings import DecodeSettings
    from rnnt.search.config import SearchConfig
    from rnnt.text.tokenizer import Tokenizer


def decode(settings: DecodeSettings) -> None:
    """Decode the sets that the options name; without --split, score them and print a line for each."""
    config, selection, search, fusion = settings.config, settings.selection, settings.search, settings.fusion
    set_threads(config.threads, processes=1)
    device = pick_device(config.device)
    manifest_dir = Path(config.manifest_dir)
    results = settings.folder()
    # Every set is opened before the first is decoded: a misspelt name should not cost an hour.
    mix, fetch = MixConfig(), settings.fetch
    manifests = {name: open_set(manifest_dir, SetWord(name), mix, fetch) for name in config.decode_sets}
    if config.model_dir:
        files = sorted(path for path in Path(config.model_dir).glob("*") if path.is_file())
        trained = read_model_dir(config.model_dir)
    else:
        files = choose(selection, config.exp_dir)[0]
        trained = load_for_decoding(config.exp_dir, selection, manifest_dir, fetch=fetch)
    stored = manifest_dir / "features.json"
    check_same_features(read_feature_config(stored), trained.features, stored, config.model_dir or config.exp_dir)
    check_method(trained.network, search, config.model_dir or config.exp_dir)
    choose_chunks(trained.network, settings.chunks)
    scorers = load_scorers(fusion, trained.tokenizer)
    trained.network.to(device)
    if config.streaming:
        check_streaming(trained.network, search, settings.windows, trained.features.frame_shift)
    elif settings.windows != WindowConfig():
        raise UserError("--stream-chunk-seconds, --left-seconds and --right-seconds go with --streaming true")
    fusion_files = [Path(file) for file in (fusion.lm, fusion.word_lm, fusion.lodr_lm, fusion.context_file) if file]
    if fusion.nn_lm:
        fusion_files += sorted(path for path in Path(fusion.nn_lm).glob("*") if path.suffix in (".pt", ".json"))
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
    shard = parse_split(config.split)

    for name, manifest in manifests.items():
        folder = results / name
        key = {
            "checkpoint": trained.name,
            "search": to_dict(search),
            "fusion": to_dict(fusion),
            "streaming": [config.streaming, to_dict(settings.chunks), to_dict(settings.windows)],
            "max_duration": config.max_duration,
            "files": stamps([*files, manifest.path, *fusion_files]),
        }
        path = shard_path(folder, *shard)
        if config.split and has_shard(path, key):
            print(f"{path}: done before, kept", flush=True)
            continue
        utterances, seconds = decode_shard(trained, manifest, config, search, device, scorers, shard, settings.windows)
        warn_of_rewriting(name, utterances, trained.tokenizer)
        head = {"key": key, "facts": facts, "seconds": seconds, "left_out": left_out_of(manifest_dir, name)}
        if config.split:
            write_shard(path, head, utterances)
            print(f"{path}: {counted(len(utterances), 'utterance')}", flush=True)
        else:
            utterances.sort(key=lambda utterance: utterance["id"])
            write_results(folder, name, config.unit, [head], utterances)


def merge(settings: DecodeSettings) -> None:
    """Score the sets that --split has decoded in shards, and remove those."""
    config = settings.config
    folders = {name: settings.folder(name) for name in config.decode_sets}
    shards = {name: read_shards(folder, config.merge) for name, folder in folders.items()}
    for name, folder in folders.items():
        write_results(folder, name, config.unit, *shards[name])
        remove_shards(folder)


def decode_shard(
    trained: TrainedModel,
    manifest: Manifest,
    config: DecodeConfig,
    search: SearchConfig,
    device: torch.device,
    scorers: Sequence[Any] = (),
    shard: tuple[int, int] = (1, 1),
    windows: WindowConfig | None = None,
) -> tuple[list[dict[str, Any]], float]:
    """Decode shard K of N of a set: every N-th batch of those that one job would have, so that N changes no result.

    Args:
        trained: the model, on `device`.
        manifest: the set.
        config: of decoding.
        search: its options.
        device: where to compute.
        scorers: see `rnnt.search.search`.
        shard: (K, N).
        windows: with `config.streaming`: what the encoder hears at a time.

    Returns:
        The objects of utterances.jsonl with the texts `ref` and `hyp`, and the wall seconds from features in memory to
        text (loading of features excluded).
    """
    tokenizer, (number, count) = trained.tokenizer, shard
    seconds_per_frame = trained.features.frame_shift * trained.network.subsampling_factor
    loader = open_feature_loader(manifest)
    batches = open_batches(manifest, loader, config.max_duration, None, config.num_workers, number - 1, count)
    timed = TimedBatches(batches)
    decoded: list[tuple[Batch, int, Any, list[str]]] = []
    start = time.perf_counter()
    bar = progress((), total=batches.num_utterances, what=manifest.path.stem, unit="utt")
    if config.streaming:
        frame_shift = trained.features.frame_shift
        results = stream_batches(trained.network, timed, search, device, scorers, windows, frame_shift)
    else:
        results = decode_batches(trained.network, timed, search, device, scorers)
    for batch, nbest, _ in results:
        batch = batch.without_features()  # only what is about the batch is kept
        texts = [[tokenizer.decode(h.tokens) for h in hypotheses] for hypotheses in nbest]
        decoded += ((batch, i, nbest[i], texts[i]) for i in range(len(batch)))
        bar.update(len(batch))
    bar.close()
    seconds = time.perf_counter() - start - timed.seconds
    return [describe_utterance(*item, tokenizer.tokens, seconds_per_frame) for item in decoded], seconds


def left_out_of(manifest_dir: Path, name: str) -> dict[str, int] | None:
    """{reason: utterances of the set that stage 6 has left out}; None where it did not say."""
    path = manifest_dir / "left_out.json"
    return read_json(path).get(name) if path.is_file() else None


def warn_of_rewriting(name: str, utterances: Sequence[dict[str, Any]], tokenizer: Tokenizer) -> None:
    """Say it where a tokenizer made elsewhere writes references in other characters: even perfect texts are errors."""
    changed = [utterance for utterance in utterances if not tokenizer.is_faithful_to(utterance["ref"])]
    if changed:
        ref = changed[0]["ref"]
        print(
            f"warning: {name}: {counted(len(changed), 'reference')} with characters that the tokens of the model "
            f"rewrite, which counts as errors, such as {ref[:80]!r} of {changed[0]['id']}, written "
            f"{tokenizer.decode(tokenizer.encode(ref))[:80]!r}",
            flush=True,
        )


class TimedBatches:
    """Iterates over batches and counts the seconds spent in waiting for them."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self._batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - start
            if batch is None:
                return
            yield batch


def stamps(paths: Iterable[str | Path]) -> list[list[Any]]:
    """Name, size and time of files: what they held, cheaply."""
    return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in map(Path, paths)]
