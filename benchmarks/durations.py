"""Speed of greedy search with durations beside that without, on encoder output of trained models.

    python benchmarks/durations.py --exp-dir exp/tdt [--without exp/train] [--batch-sizes 1 16 64] [--threads 1]

The model was trained with `tdt` in --loss. The search without durations takes a transducer of the same size, and what
its own encoder says of the same frames; without --without the same encoder, predictor and joiner, which --omega trains
for that, too. Prints for each batch size the seconds of each search (median of the rounds, in which they take
turns), their ratio, and the WER of both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.data.dataset import open_batches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.scoring import score
from rnnt.search import search
from rnnt.search.config import SearchConfig

METHODS = ("greedy_search", "tdt_greedy_search")


def encoded(network, manifest: CutManifest, seconds: float) -> Iterator[tuple[Tensor, str]]:
    """Yield encoder output (T,D) and text of each utterance."""
    for batch in open_batches(manifest, open_feature_loader(manifest), seconds, None, 0):
        h_BTD, h_len_B = network.encode(batch.x_BTF, batch.x_len_B)
        yield from ((h_TD[:length], text) for h_TD, length, text in zip(h_BTD, h_len_B.tolist(), batch.texts))


def batches_of(utterances: list[tuple[Tensor, str]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield padded encoder output and its lengths of so many utterances at a time."""
    waiting = iter(utterances)
    while batch := [h_TD for h_TD, _ in islice(waiting, size)]:
        yield torch.nn.utils.rnn.pad_sequence(batch, batch_first=True), torch.tensor([len(h_TD) for h_TD in batch])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp-dir", required=True, help="experiment of a model with durations")
    parser.add_argument("--without", help="experiment of a transducer without durations to compare with")
    parser.add_argument("--manifest-dir", default="data/cuts", help="folder of the set")
    parser.add_argument("--set", default="test", help="set whose encoder output is searched")
    parser.add_argument("--avg", type=int, default=1, help="epochs to average, as in decode.py")
    parser.add_argument("--max-sym-per-frame", type=int, default=10, help="as in decode.py")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16, 64], help="utterances searched together")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trained = load_for_decoding(args.exp_dir, Selection(avg=args.avg), args.manifest_dir)
    network, tokenizer = trained.network, trained.tokenizer
    models = {METHODS[0]: network.with_heads({}), METHODS[1]: network}
    if args.without:
        models[METHODS[0]] = load_for_decoding(args.without, Selection(avg=args.avg), args.manifest_dir).network
    configs = {method: SearchConfig(method, max_sym_per_frame=args.max_sym_per_frame) for method in METHODS}
    manifest = CutManifest(Path(args.manifest_dir) / f"{args.set}.jsonl")
    with torch.inference_mode():
        utterances = {
            method: sorted(encoded(model, manifest, 60.0), key=lambda pair: len(pair[0]))
            for method, model in models.items()
        }
    texts_of_set = [text for _, text in utterances[METHODS[0]]]
    frames = sum(len(h_TD) for h_TD, _ in utterances[METHODS[0]])
    print(f"{args.set}: {len(texts_of_set)} utterances, {frames} encoder frames, {args.threads} threads")
    print("batch  without, s  durations, s  times as fast  %WER without  %WER durations")
    for size in args.batch_sizes:
        batches = {method: list(batches_of(utterances[method], size)) for method in METHODS}
        seconds: dict[str, list[float]] = {method: [] for method in METHODS}
        texts: dict[str, list[str]] = {}
        for _ in range(args.rounds + 1):
            for method in METHODS:
                start = time.perf_counter()
                found = [
                    best for batch in batches[method] for [best] in search(models[method], *batch, configs[method])
                ]
                seconds[method].append(time.perf_counter() - start)
                texts[method] = [tokenizer.decode(best.tokens) for best in found]
        plain, jumping = (seconds[method][1:] for method in METHODS)
        ratio = statistics.median(a / b for a, b in zip(plain, jumping))
        refs = {str(i): text for i, text in enumerate(texts_of_set)}
        wers = [score(refs, dict(zip(refs, texts[method]))).wer for method in METHODS]
        times = f"{statistics.median(plain):>12.3f}{statistics.median(jumping):>14.3f}{ratio:>15.2f}"
        print(f"{size:>5}{times}{wers[0]:>14.2f}{wers[1]:>16.2f}", flush=True)


if __name__ == "__main__":
    main()
