"""Measure transcription with PyTorch, onnxruntime and sherpa-onnx on the same audio: hours of speech per hour.

    python benchmarks/export.py --model mymodel --onnx mymodel-onnx data/audio
    python benchmarks/export.py --seconds 300 --number 4

MODEL and ONNX are the same model, as export_model.py writes it with --format model and --format onnx. Without them it
is an LSTM encoder of 20 million parameters with random weights, and the audio is noise. Audio is read before the
clock runs. sherpa-onnx gets all files of 120 seconds at once, as the other two make their batches. What is printed is
the median over --repeats runs, which take turns.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.cli import program
from rnnt.options import make, make_parser, option, parse

TOKENS_PER_SECOND = 3.5


@dataclass(frozen=True)
class ExportBenchmark:
    """Benchmark."""

    model: str = option("", "model directory; empty: random weights")
    onnx: str = option("", "folder of its ONNX graphs")
    seconds: float = option(300.0, "length of a file of noise", above=0)
    number: int = option(4, "files of noise", minimum=1)
    batch_seconds: float = option(120.0, "audio per batch", above=0)
    repeats: int = option(3, "timed runs", minimum=1)
    threads: int = option(2, "CPU threads", minimum=1)


def write_random(folder: Path, chunks: tuple[int, int] | None = None) -> None:
    """`model` and `onnx` of an encoder of 20 million parameters. chunks: of streaming graphs, see `write_onnx`."""
    import torch

    from rnnt.checkpoints.averaging import TrainedModel
    from rnnt.checkpoints.model_dir import write_model_dir
    from rnnt.checkpoints.onnx.write import write_onnx
    from rnnt.data.config import FeatureConfig
    from rnnt.data.fbank import make_extractor
    from rnnt.model.config import ModelConfig
    from rnnt.model.transducer import Transducer
    from rnnt.text.token_list import build_model
    from rnnt.text.tokenizer import Tokenizer

    tokens = ["<blk>", "<sos/eos>", "<unk>", *(f"\u2581{i}" for i in range(497))]
    (folder / "bpe.model").write_bytes(build_model(tokens))
    tokenizer = Tokenizer.load(folder / "bpe.model")
    torch.manual_seed(0)
    sizes = {"num_features": 80, "vocab_size": 500, "blank_id": 0, "encoder_dim": 640, "encoder_layers": 6}
    network = Transducer(make(ModelConfig, encoder="lstm", **sizes)).eval()
    network.set_feature_statistics([-8.0] * 80, [3.0] * 80)
    features = FeatureConfig()
    set_token_rate(network, make_extractor(features))
    trained = TrainedModel(network, features, tokenizer, "random")
    write_model_dir(folder / "model", trained, {})
    write_onnx(folder / "onnx", trained, {}, chunks=chunks)


def set_token_rate(network: Any, extractor: Any) -> None:
    """Set the bias of blank so that noise gives about as many tokens as speech; else each frame would give one."""
    import numpy as np
    import torch

    from rnnt.search import search
    from rnnt.search.config import SearchConfig

    noise = 0.1 * np.random.default_rng(0).standard_normal(16000 * 20, np.float32)
    x_BTF = torch.from_numpy(np.asarray(extractor.extract(noise)))[None]
    with torch.inference_mode():
        h_BTD, h_len_B = network.encode(x_BTF, torch.tensor([x_BTF.shape[1]]))
    low, high = 0.0, 10.0
    for _ in range(12):
        bias = (low + high) / 2
        with torch.no_grad():
            network.joiner.output.bias[0] = bias
        found = search(network, h_BTD, h_len_B, SearchConfig(max_sym_per_frame=1))[0][0]
        low, high = (bias, high) if len(found.tokens) > TOKENS_PER_SECOND * 20 else (low, bias)


def sherpa(folder: Path, features: Any, config: ExportBenchmark) -> Callable[[list[Any], int], object]:
    """What transcribes arrays with sherpa-onnx."""
    import sherpa_onnx

    recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
        *(str(folder / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")), str(folder / "tokens.txt"),
        num_threads=config.threads, sample_rate=features.sampling_rate, feature_dim=features.num_mel_bins,
    )  # fmt: skip

    def transcribe(audio: list[Any], rate: int) -> list[str]:
        texts, waiting, seconds = [], [], 0.0
        for samples in audio:
            if waiting and seconds + len(samples) / rate > config.batch_seconds:
                recognizer.decode_streams(waiting)
                texts += [stream.result.text for stream in waiting]
                waiting, seconds = [], 0.0
            stream = recognizer.create_stream()
            stream.accept_waveform(rate, samples)
            waiting.append(stream)
            seconds += len(samples) / rate
        recognizer.decode_streams(waiting)
        return texts + [stream.result.text for stream in waiting]

    return transcribe


def read_audio(files: list[str], config: Any, rate: int) -> tuple[list[Any], int]:
    """Samples of the files, or noise, and their sampling rate."""
    import io

    import numpy as np
    import soundfile

    from rnnt.transcription.run import find_inputs

    if not files:
        generator = np.random.default_rng(0)
        size = int(config.seconds * rate)
        return [0.1 * generator.standard_normal(size, np.float32) for _ in range(config.number)], rate
    read = [soundfile.read(str(path), dtype="float32") for path in find_inputs(files, io.BytesIO())]
    return [samples for samples, _ in read], read[0][1]


def measure(folder: Path, onnx: Path, files: list[str], config: ExportBenchmark) -> None:
    """Print the table."""
    from rnnt.search.config import SearchConfig
    from rnnt.transcription.config import ChunkConfig
    from rnnt.transcription.loading import open_model

    pytorch, graphs = open_model(folder, "cpu", config.threads), open_model(onnx, "cpu", config.threads)
    search, chunks = SearchConfig(max_sym_per_frame=1), ChunkConfig(batch_seconds=config.batch_seconds)
    audio, rate = read_audio(files, config, pytorch.features.sampling_rate)
    ways: dict[str, Callable[[list[Any], int], object]] = {
        "PyTorch": lambda audio, rate: pytorch.transcribe(audio, rate, search, chunks=chunks),
        "onnxruntime": lambda audio, rate: graphs.transcribe(audio, rate, search, chunks=chunks),
        "sherpa-onnx": sherpa(onnx, pytorch.features, config),
    }
    print("files  seconds  with         seconds  hours per hour")
    for chosen in (audio, audio[:1]):
        total = sum(map(len, chosen)) / rate
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for transcribe in ways.values():
            transcribe(chosen[:1], rate)
        for _ in range(config.repeats):
            for name, transcribe in ways.items():
                begin = time.perf_counter()
                transcribe(chosen, rate)
                taken[name].append(time.perf_counter() - begin)
        for name, seconds in taken.items():
            median = statistics.median(seconds)
            print(f"{len(chosen):5d}  {total:7.0f}  {name:11s}  {median:7.3f}  {total / median:14.0f}", flush=True)


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = make_parser(__doc__, ExportBenchmark)
    parser.add_argument("files", metavar="FILE", nargs="*", help="audio files, folders or patterns; none: noise")
    (config,), args = parse(parser, (ExportBenchmark,), argv)
    if bool(config.model) != bool(config.onnx):
        parser.error("--model and --onnx go together")
    if config.model:
        measure(Path(config.model), Path(config.onnx), args.files, config)
        return
    with tempfile.TemporaryDirectory() as name:
        write_random(Path(name))
        measure(Path(name) / "model", Path(name) / "onnx", args.files, config)


if __name__ == "__main__":
    main()
