"""Measure decoding of a test set by encoder and search: seconds and times real time, on synthetic features.

    python benchmarks/decoding.py --device cuda --precision bf16
    python benchmarks/decoding.py --hours 0.01 --config egs/digits/ASR/conf/train.yaml --num-features 40 --vocab-size 30

The utterances have the lengths of LibriSpeech's test sets, 5.4 hours of them, and lie in the memory of the device:
reading and features are not measured. They are sorted by length and decoded in batches, the encoder and then each
search on all batches. The weights are random; the bias of blank is set such that greedy search finds about the wanted
number of tokens per second of speech. What is printed are medians.
"""

import shlex
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from rnnt.cli import program
from rnnt.options import make, make_parser, option, parse

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.model.transducer import Transducer
    from rnnt.search.config import SearchConfig

    Batches = list[tuple[Tensor, Tensor]]

RECIPE = Path(__file__).parents[1] / "egs/librispeech/ASR/conf"
FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class DecodingBenchmark:
    """Benchmark."""

    hours: float = option(5.4, "speech to decode")
    recipe_config: str = option(str(RECIPE / "conformer.yaml"), "configuration of a training of the model")
    lengths: str = option(str(RECIPE / "mlperf/synthetic.yaml"), "lengths of the utterances")
    train_opts: str = option("", "further options of that training, such as '--encoder-layers 17'")
    num_features: int = option(80, "features per frame")
    vocab_size: int = option(500, "tokens")
    batch_seconds: float = option(3600.0, "speech per batch, padding counted")
    tokens_per_second: float = option(3.5, "rate of greedy search, set by the bias of blank")
    device: str = option("cuda", "where to compute", choices=["cpu", "cuda"])
    precision: str = option("bf16", "of the encoder; the searches compute in fp32", choices=["fp32", "bf16"])
    beam_size: int = option(4, "beam of modified beam search")
    repeats: int = option(3, "timed runs")
    threads: int = option(2, "CPU threads")


def make_features(config: DecodingBenchmark, total: float) -> "Batches":
    """Batches of features and their lengths, sorted by length, `total` seconds in all."""
    import torch

    from rnnt.data.synthetic import SyntheticManifest, SyntheticTokenizer

    tokenizer = SyntheticTokenizer(config.vocab_size, 0)
    manifest = SyntheticManifest(config.lengths, "dev", tokenizer, config.num_features)
    frames, taken = [], 0.0
    while taken < total:
        frames.append(max(int(manifest.durations[len(frames) % len(manifest)] * FRAMES_PER_SECOND), 8))
        taken += frames[-1] / FRAMES_PER_SECOND
    frames.sort(reverse=True)
    generator = torch.Generator(config.device).manual_seed(0)
    batches, first = [], 0
    while first < len(frames):
        size = max(int(config.batch_seconds * FRAMES_PER_SECOND / frames[first]), 1)
        lengths = torch.tensor(frames[first : first + size])
        shape = (len(lengths), int(lengths[0]), config.num_features)
        batches.append((torch.randn(shape, device=config.device, generator=generator), lengths))
        first += size
    return batches


def make_model(config: DecodingBenchmark) -> "Transducer":
    """The model of the configuration with random weights, in evaluation mode."""
    import torch

    from rnnt.model.transducer import Transducer
    from rnnt.training.config import Options

    given = [*shlex.split(config.train_opts), "--num-features", str(config.num_features)]
    argv = ["--config", config.recipe_config, *given, "--vocab-size", str(config.vocab_size)]
    (options,), _ = parse(make_parser("", Options), [Options], argv)
    torch.manual_seed(0)
    model = Transducer(options.model).to(config.device).eval()
    with torch.no_grad():
        for weight in model.joiner.parameters():
            weight.mul_(3)  # logits that differ
    return model


def encode(model: "Transducer", batches: "Batches", precision: str, device: str) -> "Batches":
    """Encoder output of all batches, in float32."""
    import torch

    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        encoded = [model.encode(x_BTF, x_len_B) for x_BTF, x_len_B in batches]
    return [(h_BTD.float(), h_len_B) for h_BTD, h_len_B in encoded]


def search_all(model: "Transducer", encoded: "Batches", config: "SearchConfig", device: str) -> int:
    """The number of tokens in the best hypotheses of all batches, searched as decode.py does."""
    import torch

    from rnnt.search.batches import decode_batches

    # A transducer whose encoder has done its work.
    rest = SimpleNamespace(
        encode=lambda h_BTD, h_len_B: (h_BTD, h_len_B),
        **{name: getattr(model, name) for name in ("predictor", "joiner", "blank_id", "vocab_size")},
    )
    batches = [SimpleNamespace(x_BTF=h_BTD, x_len_B=h_len_B) for h_BTD, h_len_B in encoded]
    found = decode_batches(rest, batches, config, torch.device(device))
    return sum(len(hypotheses[0].tokens) for _, nbest, _ in found for hypotheses in nbest)


def set_token_rate(
    model: "Transducer", encoded: "Batches", seconds: float, config: DecodingBenchmark, search_config: "SearchConfig"
) -> None:
    """Set the bias of blank by bisection, so that a search finds the wanted rate of tokens in a part of a batch."""
    import torch

    some = [(h_BTD[:32], h_len_B[:32]) for h_BTD, h_len_B in encoded[len(encoded) // 2 :][:1]]
    share = sum(int(h_len_B.sum()) for _, h_len_B in some) / sum(int(h_len_B.sum()) for _, h_len_B in encoded)
    bias_V = model.joiner.output.bias
    low, high = -20.0, 60.0
    with torch.no_grad():
        for _ in range(14):
            bias_V[model.blank_id] = (low + high) / 2
            if search_all(model, some, search_config, config.device) > config.tokens_per_second * seconds * share:
                low = (low + high) / 2
            else:
                high = (low + high) / 2


def median_seconds(call: "Callable[[], int | Batches]", repeats: int, device: str) -> float:
    """Median of the seconds of `repeats` calls after one to warm up."""
    import torch

    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


@program
def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    (config,), _ = parse(make_parser(__doc__, DecodingBenchmark), [DecodingBenchmark], argv)
    import torch

    from rnnt.search.config import SearchConfig

    torch.set_num_threads(config.threads)
    batches = make_features(config, 3600 * config.hours)
    seconds = sum(int(x_len_B.sum()) for _, x_len_B in batches) / FRAMES_PER_SECOND
    model = make_model(config)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    name = torch.cuda.get_device_name() if config.device == "cuda" else f"CPU, {config.threads} thread(s)"
    print(f"{name}, torch {torch.__version__}; {parameters:.1f} M parameters, encoder in {config.precision}")
    utterances = sum(len(x_len_B) for _, x_len_B in batches)
    print(f"{seconds / 3600:.2f} hours, {utterances} utterances, {len(batches)} batches")
    encoder = partial(encode, model, batches, config.precision, config.device)
    encoded = encoder()
    encoding = median_seconds(encoder, config.repeats, config.device)
    print(f"{'':34}{'seconds':>9}{'x real time':>13}{'with encoder':>14}{'tokens/s':>10}")
    print(f"{'encoder':34}{encoding:>9.3f}{seconds / encoding:>13.0f}", flush=True)
    searches = {
        "greedy, 1 token per frame": SearchConfig(max_sym_per_frame=1),
        "greedy, 10 tokens per frame": SearchConfig(),
        f"modified beam {config.beam_size}": make(
            SearchConfig, decoding_method="modified_beam_search", beam_size=config.beam_size
        ),
    }
    for title, search_config in searches.items():
        # Beam search has the model of greedy search with one token per frame, which is what it finds too.
        greedy = SearchConfig(max_sym_per_frame=10 if "10" in title else 1)
        set_token_rate(model, encoded, seconds, config, greedy)
        call = partial(search_all, model, encoded, search_config, config.device)
        tokens, spent = call(), median_seconds(call, config.repeats, config.device)
        whole = f"{seconds / (spent + encoding):>14.0f}"
        print(f"{title:34}{spent:>9.3f}{seconds / spent:>13.0f}{whole}{tokens / seconds:>10.2f}", flush=True)
    if config.device == "cuda":
        print(f"memory at most {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
