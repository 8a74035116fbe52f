"""Speed of the searches on given encoder output, with a random model of a chosen token rate.

Prints a table: search, batch size, wall seconds, times real time (40 ms per frame), tokens per frame. With
`--icefall DIR` (a checkout of icefall) the functions of the same names in its recipe
egs/librispeech/ASR/pruned_transducer_stateless2 run with its own decoder and joiner on the same weights in the same
process; the table adds how many times as fast the searches here are, and how many utterances have the same tokens. What
those files also import (k2, the icefall package) is replaced by the few lines that the functions need.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor

from rnnt.model.config import JoinerConfig, StatelessConfig
from rnnt.model.joiner import Joiner
from rnnt.model.predictor import StatelessPredictor
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.result import Hypothesis

SECONDS_PER_FRAME = 0.04
CONTEXT = 2

Result = TypeVar("Result")


def make_model(vocab: int, dim: int, frames_per_token: float, h_BTD: Tensor, config: SearchConfig) -> SimpleNamespace:
    """A random model with which the search of `config` emits a token every `frames_per_token` frames of `h_BTD`."""
    torch.manual_seed(0)
    predictor = StatelessConfig(predictor_dim=dim, context_size=CONTEXT, dropout=0.0)
    joiner = JoinerConfig(joiner_dim=dim)
    model = SimpleNamespace(
        predictor=StatelessPredictor(predictor, vocab, 0),
        joiner=Joiner(dim, dim, vocab, joiner),
        blank_id=0,
        vocab_size=vocab,
    )
    for part in (model.predictor, model.joiner):
        part.to(h_BTD.device).eval()
    with torch.no_grad():
        # icefall's convolution is depthwise: keep only that part of the wider groups here, and no bias.
        conv = model.predictor.conv
        kept = own_channel(conv.weight.clone())
        conv.weight.zero_()
        conv.bias.zero_()
        channels, width, _ = conv.weight.shape
        conv.weight[torch.arange(channels), torch.arange(channels) % width] = kept[:, 0]
        for weight in model.joiner.parameters():
            weight.mul_(3)
        # The bias of blank by bisection: more bias, fewer tokens.
        low, high = -20.0, 40.0
        for _ in range(12):
            model.joiner.output.bias[0] = (low + high) / 2
            if token_rate(model, h_BTD, config) > 1 / frames_per_token:
                low = (low + high) / 2
            else:
                high = (low + high) / 2
    return model


def token_rate(model: SimpleNamespace, h_BTD: Tensor, config: SearchConfig) -> float:
    """Tokens per frame."""
    B, T, _ = h_BTD.shape
    results = search(model, h_BTD, torch.full((B,), T), config)
    return sum(len(nbest[0].tokens) for nbest in results) / (B * T)


def best_time(call: Callable[[], Result], repeats: int) -> tuple[Result, float]:
    """(result, least wall seconds of `repeats` calls after one to warm up)."""
    result = call()
    times = []
    for _ in range(repeats):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return result, min(times)


class RaggedStandIn:
    """The part of k2.RaggedTensor that the searches use: rows of a flat tensor."""

    def __init__(self, shape: ShapeStandIn, value: Tensor) -> None:
        self.splits, self.value = shape.row_splits(1).tolist(), value

    def __getitem__(self, row: int) -> Tensor:
        return self.value[self.splits[row] : self.splits[row + 1]]


class ShapeStandIn:
    """The part of k2.RaggedShape that the searches use."""

    def __init__(self, row_splits: Tensor, cached_tot_size: int | None = None) -> None:
        self._splits = row_splits

    def to(self, device: torch.device) -> ShapeStandIn:
        return ShapeStandIn(self._splits.to(device))

    def row_splits(self, _axis: int) -> Tensor:
        return self._splits

    def row_ids(self, _axis: int) -> Tensor:
        counts = self._splits[1:] - self._splits[:-1]
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


class StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load_icefall(folder: str) -> SimpleNamespace:
    """The modules beam_search, decoder and joiner of icefall's recipe."""
    k2 = StandIn("k2")
    vars(k2).update(RaggedTensor=RaggedStandIn, ragged=SimpleNamespace(create_ragged_shape2=ShapeStandIn))
    sys.modules["k2"] = k2
    for name in ("", ".decode", ".lm_wrapper", ".rnn_lm", ".rnn_lm.model", ".transformer_lm", ".transformer_lm.model"):
        sys.modules["icefall" + name] = StandIn("icefall" + name)
    utils = sys.modules["icefall.utils"] = StandIn("icefall.utils")
    vars(utils).update(is_jit_tracing=lambda: False)
    sys.path.insert(0, str(Path(folder) / "egs/librispeech/ASR/pruned_transducer_stateless2"))
    return SimpleNamespace(**{name: importlib.import_module(name) for name in ("beam_search", "decoder", "joiner")})


class IcefallModel(torch.nn.Module):
    """icefall's decoder and joiner with the weights of `model`."""

    def __init__(self, icefall: SimpleNamespace, model: SimpleNamespace, vocab: int, dim: int) -> None:
        super().__init__()
        self.decoder = icefall.decoder.Decoder(vocab, dim, 0, CONTEXT)
        self.joiner = icefall.joiner.Joiner(dim, dim, dim, vocab)
        joiner = model.joiner
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("scale"):
                    parameter.zero_()  # a logarithm
            self.decoder.embedding.weight.copy_(model.predictor.embedding.weight)
            self.decoder.conv.weight.copy_(own_channel(model.predictor.conv.weight))
            pairs = ((joiner.encoder_proj, "encoder_proj"), (joiner.predictor_proj, "decoder_proj"))
            for linear, name in (*pairs, (joiner.output, "output_linear")):
                getattr(self.joiner, name).weight.copy_(linear.weight)
                getattr(self.joiner, name).bias.copy_(linear.bias)
        self.to(joiner.output.weight.device).eval()


def own_channel(weight_OIC: Tensor) -> Tensor:
    """(O, 1, C): the weights with which each output channel of a grouped convolution sees its own input channel."""
    channels, width, _ = weight_OIC.shape
    return weight_OIC[torch.arange(channels), torch.arange(channels) % width][:, None]


def icefall_tokens(
    module: Any, adapted: IcefallModel, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[int]]:
    """Token lists of icefall's function of the same name."""
    with torch.inference_mode():
        if config.decoding_method == "greedy_search":
            return module.greedy_search_batch(adapted, h_BTD, h_len_B)
        return module.modified_beam_search(adapted, h_BTD, h_len_B, beam=config.beam_size)


def pick_like_icefall(nbest: list[Hypothesis]) -> Hypothesis:
    """The hypothesis that icefall would return: it counts the start tokens when it divides by the length."""
    return max(nbest, key=lambda h: h.score / (len(h.tokens) + CONTEXT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 64], help="utterances per batch")
    parser.add_argument("--frames", type=int, default=300, help="encoder frames per utterance")
    parser.add_argument("--dim", type=int, default=512, help="width of encoder output, predictor and joiner")
    parser.add_argument("--vocab", type=int, default=500, help="tokens, blank included")
    parser.add_argument("--frames-per-token", type=float, default=4.0, help="frames per token of greedy search")
    parser.add_argument("--beam-size", type=int, default=4, help="beam of modified beam search")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls; the fastest counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--icefall", metavar="DIR", help="a checkout of icefall to compare with")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    icefall = load_icefall(args.icefall) if args.icefall else None
    K = args.beam_size
    configs = {
        "greedy, 1 token per frame": SearchConfig(max_sym_per_frame=1),
        "greedy, 10 tokens per frame": SearchConfig(),
        f"modified beam {K}": SearchConfig("modified_beam_search", beam_size=K, nbest=K),
    }
    print("search                       B   seconds  x real time  tokens/frame" + "  x icefall  same" * bool(icefall))
    for B in args.batch_sizes:
        torch.manual_seed(1)
        h_BTD = torch.randn(B, args.frames, args.dim, device=args.device)
        h_len_B = torch.full((B,), args.frames)
        audio = B * args.frames * SECONDS_PER_FRAME
        for name, config in configs.items():
            # The token rate is that of greedy search, so beam search has the model of greedy, 1 token per frame.
            tuned = config if config.decoding_method == "greedy_search" else SearchConfig(max_sym_per_frame=1)
            model = make_model(args.vocab, args.dim, args.frames_per_token, h_BTD[:16], tuned)
            results, seconds = best_time(partial(search, model, h_BTD, h_len_B, config), args.repeats)
            rate = sum(len(nbest[0].tokens) for nbest in results) / (B * args.frames)
            line = f"{name:<27}{B:>4}{seconds:>10.3f}{audio / seconds:>13.0f}{rate:>14.3f}"
            if icefall and (config.max_sym_per_frame == 1 or config.decoding_method == "modified_beam_search"):
                adapted = IcefallModel(icefall, model, args.vocab, args.dim)
                call = partial(icefall_tokens, icefall.beam_search, adapted, h_BTD, h_len_B, config)
                tokens, icefall_seconds = best_time(call, args.repeats)
                same = sum(list(pick_like_icefall(a).tokens) == b for a, b in zip(results, tokens))
                line += f"{icefall_seconds / seconds:>11.2f}  {same}/{B}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
