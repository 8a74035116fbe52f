"""Speed of the searches on given encoder output, with a random model of a chosen token rate.

Prints a table: search, batch size, wall seconds, times real time (a frame is 40 ms), tokens a frame. With
`--icefall DIR` (a checkout of icefall) the functions of the same names in its recipe
egs/librispeech/ASR/pruned_transducer_stateless2 run with its own decoder and joiner on the same weights in the same
process; the table adds how many times as fast ours are, and how many utterances have the same tokens. What those
files import besides (k2, the icefall package) is stood in for by the few lines that the functions need.
"""

import argparse
import importlib
import sys
import time
import types
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch

from rnnt.model.config import ModelConfig
from rnnt.model.joiner import Joiner
from rnnt.model.predictor import PREDICTORS
from rnnt.search import search
from rnnt.search.config import SearchConfig

FRAME_SECONDS = 0.04
CONTEXT = 2


def make_model(vocab, dim, frames_per_token, h_BTD, config):
    """A random model with which the search of `config` emits a token every `frames_per_token` frames of `h_BTD`."""
    torch.manual_seed(0)
    shape = ModelConfig(predictor_dim=dim, joiner_dim=dim, vocab_size=vocab, context_size=CONTEXT, dropout=0.0)
    model = SimpleNamespace(predictor=PREDICTORS["stateless"](shape), joiner=Joiner(dim, dim, shape), blank_id=0)
    for part in (model.predictor, model.joiner):
        part.to(h_BTD.device).eval()
    with torch.no_grad():
        # icefall's convolution is depthwise: keep only that part of ours, which has wider groups and a bias.
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


def token_rate(model, h_BTD, config):
    """Tokens a frame."""
    B, T, _ = h_BTD.shape
    results = search(model, h_BTD, torch.full((B,), T), config)
    return sum(len(nbest[0].tokens) for nbest in results) / (B * T)


def best_time(call, repeats):
    """(result, least wall seconds of `repeats` calls after one to warm up)."""
    call()
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

    def __init__(self, shape, value):
        self.splits, self.value = shape.row_splits(1).tolist(), value

    def __getitem__(self, row):
        return self.value[self.splits[row] : self.splits[row + 1]]


class ShapeStandIn:
    """The part of k2.RaggedShape that the searches use."""

    def __init__(self, row_splits, cached_tot_size=None):
        self._splits = row_splits

    def to(self, device):
        return ShapeStandIn(self._splits.to(device))

    def row_splits(self, _axis):
        return self._splits

    def row_ids(self, _axis):
        counts = self._splits[1:] - self._splits[:-1]
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


class StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load_icefall(folder):
    """The modules beam_search, decoder and joiner of icefall's recipe."""
    k2 = StandIn("k2")
    k2.RaggedTensor, k2.ragged = RaggedStandIn, SimpleNamespace(create_ragged_shape2=ShapeStandIn)
    sys.modules["k2"] = k2
    for name in ("", ".decode", ".lm_wrapper", ".rnn_lm", ".rnn_lm.model", ".transformer_lm", ".transformer_lm.model"):
        sys.modules["icefall" + name] = StandIn("icefall" + name)
    sys.modules["icefall.utils"] = StandIn("icefall.utils")
    sys.modules["icefall.utils"].is_jit_tracing = lambda: False
    sys.path.insert(0, str(Path(folder) / "egs/librispeech/ASR/pruned_transducer_stateless2"))
    return SimpleNamespace(**{name: importlib.import_module(name) for name in ("beam_search", "decoder", "joiner")})


class IcefallModel(torch.nn.Module):
    """icefall's decoder and joiner with the weights of `model`."""

    def __init__(self, theirs, model, vocab, dim):
        super().__init__()
        self.decoder = theirs.decoder.Decoder(vocab, dim, 0, CONTEXT)
        self.joiner = theirs.joiner.Joiner(dim, dim, dim, vocab)
        ours = model.joiner
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("scale"):
                    parameter.zero_()  # a logarithm
            self.decoder.embedding.weight.copy_(model.predictor.embedding.weight)
            self.decoder.conv.weight.copy_(own_channel(model.predictor.conv.weight))
            pairs = ((ours.encoder_proj, "encoder_proj"), (ours.predictor_proj, "decoder_proj"))
            for linear, name in (*pairs, (ours.output, "output_linear")):
                getattr(self.joiner, name).weight.copy_(linear.weight)
                getattr(self.joiner, name).bias.copy_(linear.bias)
        self.to(ours.output.weight.device).eval()


def own_channel(weight_OIC):
    """(O, 1, C): the weights with which each output channel of a grouped convolution sees its own input channel."""
    channels, width, _ = weight_OIC.shape
    return weight_OIC[torch.arange(channels), torch.arange(channels) % width][:, None]


def icefall_tokens(module, adapted, h_BTD, h_len_B, config):
    """Token lists of icefall's function of the same name."""
    with torch.inference_mode():
        if config.decoding_method == "greedy_search":
            return module.greedy_search_batch(adapted, h_BTD, h_len_B)
        return module.modified_beam_search(adapted, h_BTD, h_len_B, beam=config.beam_size)


def pick_like_icefall(nbest):
    """The hypothesis that icefall would return: it counts the start tokens when it divides by the length."""
    return max(nbest, key=lambda h: h.score / (len(h.tokens) + CONTEXT))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 64], help="utterances a batch")
    parser.add_argument("--frames", type=int, default=300, help="encoder frames an utterance")
    parser.add_argument("--dim", type=int, default=512, help="width of encoder output, predictor and joiner")
    parser.add_argument("--vocab", type=int, default=500, help="tokens with blank")
    parser.add_argument("--frames-per-token", type=float, default=4.0, help="frames a token of greedy search")
    parser.add_argument("--beam-size", type=int, default=4, help="beam of modified beam search")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls; the fastest counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--icefall", metavar="DIR", help="a checkout of icefall to compare with")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    theirs = load_icefall(args.icefall) if args.icefall else None
    K = args.beam_size
    configs = {
        "greedy, 1 symbol a frame": SearchConfig(max_sym_per_frame=1),
        "greedy, 10 symbols a frame": SearchConfig(),
        f"modified beam {K}": SearchConfig("modified_beam_search", beam_size=K, nbest=K),
    }
    print("search                       B   seconds  x real time  tokens/frame" + "  x icefall  same" * bool(theirs))
    for B in args.batch_sizes:
        torch.manual_seed(1)
        h_BTD = torch.randn(B, args.frames, args.dim, device=args.device)
        h_len_B = torch.full((B,), args.frames)
        audio = B * args.frames * FRAME_SECONDS
        for name, config in configs.items():
            # The token rate is that of greedy search, so beam search has the model of the search with one symbol.
            tuned = config if config.decoding_method == "greedy_search" else SearchConfig(max_sym_per_frame=1)
            model = make_model(args.vocab, args.dim, args.frames_per_token, h_BTD[:16], tuned)
            ours, seconds = best_time(partial(search, model, h_BTD, h_len_B, config), args.repeats)
            rate = sum(len(nbest[0].tokens) for nbest in ours) / (B * args.frames)
            line = f"{name:<27}{B:>4}{seconds:>10.3f}{audio / seconds:>13.0f}{rate:>14.3f}"
            if theirs and (config.max_sym_per_frame == 1 or config.decoding_method == "modified_beam_search"):
                adapted = IcefallModel(theirs, model, args.vocab, args.dim)
                call = partial(icefall_tokens, theirs.beam_search, adapted, h_BTD, h_len_B, config)
                tokens, their_seconds = best_time(call, args.repeats)
                same = sum(list(pick_like_icefall(a).tokens) == b for a, b in zip(ours, tokens))
                line += f"{their_seconds / seconds:>11.2f}  {same}/{B}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
