"""Streaming encoders in sherpa-onnx's online recogniser: what our search finds in the whole, piece by piece."""

import copy
import json
import re

import numpy as np
import pytest
import soundfile
import torch

import rnnt
from rnnt.checkpoints.onnx import write
from rnnt.checkpoints.onnx.graphs import blank_first
from rnnt.checkpoints.onnx.streaming import windows_of
from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.errors import UserError
from rnnt.export_model import main
from rnnt.search import search
from rnnt.search.config import SearchConfig

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
sherpa_onnx = pytest.importorskip("sherpa_onnx")

RATE, BINS = 8000, 24
ZIPFORMER = {
    "encoder": "zipformer", "num_encoder_layers": [1, 2], "downsampling_factor": [1, 2], "encoder_dim": [32, 48],
    "encoder_unmasked_dim": [32], "feedforward_dim": [32], "num_heads": [2, 3], "cnn_module_kernel": [7, 5],
    "causal": True,
}  # fmt: skip
ENCODERS = {
    "lstm": {"encoder": "lstm", "predictor": "lstm"},
    "deep_lstm": {"encoder": "deep_lstm", "encoder_hidden_dim": 40, "feedforward_dim": 32},
    "stacked_lstm": {"encoder": "stacked_lstm", "encoder_layers": 3},
    "zipformer": ZIPFORMER,
    "zipformer with adapters": {**ZIPFORMER, "adapter_dim": 4},
}


def with_silence(sound):
    """Windows that are not full are never decoded: silence follows the speech."""
    return np.concatenate([sound, np.zeros(RATE, np.float32)])


def ours(model, samples, chunks, **options):
    """Tokens of each sound by our own search over the whole."""
    config = SearchConfig(**options) if options else SearchConfig(max_sym_per_frame=1)
    network = copy.deepcopy(model.network)
    windows = windows_of(network, *chunks)
    extractor = make_extractor(model.features)
    found = []
    for sound in samples:
        x_BTF = torch.from_numpy(extractor.extract(with_silence(sound)))[None]
        # As many windows as the engine runs: one more frame than a window must be there.
        number = (x_BTF.shape[1] - 1 - windows.size) // windows.shift + 1
        with torch.no_grad():
            h_BTD, _ = network.encode(x_BTF, torch.tensor([x_BTF.shape[1]]))
        h_len_B = torch.tensor([number * windows.shift // 4])
        best = search(network, h_BTD, h_len_B, config)[0][0]
        found.append((list(best.tokens), list(best.frames)))
    return found


def theirs(folder, samples, ctc=False, bins=BINS):
    """The same by sherpa-onnx: all streams at once, which get their samples in pieces of different lengths."""
    kinds = sherpa_onnx.OnlineRecognizer
    make = kinds.from_zipformer2_ctc if ctc else kinds.from_transducer
    graphs = ["ctc"] if ctc else ["encoder", "decoder", "joiner"]
    paths = [str(folder / "tokens.txt"), *(str(folder / f"{name}.onnx") for name in graphs)]
    recognizer = make(*paths, num_threads=1, sample_rate=RATE, feature_dim=bins)
    lines = (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()
    ids = {line.rsplit(" ", 1)[0].replace("\u2581", " "): i for i, line in enumerate(lines)}
    streams = [recognizer.create_stream() for _ in samples]
    waiting = [np.array_split(with_silence(sound), 3 + i) for i, sound in enumerate(samples)]
    while any(waiting):
        for stream, pieces in zip(streams, waiting):
            if pieces:
                stream.accept_waveform(RATE, pieces.pop(0))
                if not pieces:
                    stream.input_finished()
        while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
            recognizer.decode_streams(ready)
    results = [json.loads(recognizer.get_result_as_json_string(stream)) for stream in streams]
    return [([ids[t] for t in one["tokens"]], [round(t / 0.04) for t in one["timestamps"]]) for one in results]


def run_read_me(folder, sound, monkeypatch):
    """Run the Python of the README in an exported folder."""
    soundfile.write(folder / "speech.wav", sound, RATE)
    monkeypatch.chdir(folder)
    (block,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "encoder", [pytest.param(e, marks=pytest.mark.slow if "adapters" in e else ()) for e in ENCODERS]
)
def test_the_same_tokens_at_the_same_times(toy, tmp_path, encoder, random_model, random_sounds):
    model, chunks = random_model(toy / "bpe.model", **ENCODERS[encoder]), (8, 16)
    write.write_onnx(tmp_path / "m", model, {}, chunks=chunks)
    samples = random_sounds()
    wanted = ours(model, samples, chunks)
    assert len({token for tokens, _ in wanted for token in tokens}) > 3
    assert theirs(tmp_path / "m", samples) == wanted


@pytest.mark.parametrize(
    "encoder", [pytest.param(e, marks=pytest.mark.slow if e not in ("lstm", "zipformer") else ()) for e in ENCODERS]
)
def test_ctc_layers(blank_last, tmp_path, encoder, random_model, random_sounds, monkeypatch):
    options = {**ENCODERS[encoder], "transducer": False}
    options.pop("predictor", None)
    bins = 80 if "zipformer" in encoder else BINS
    features = FeatureConfig(sampling_rate=RATE, num_mel_bins=bins)
    model, chunks = random_model(blank_last, ["ctc"], features, num_features=bins, **options), (8, 16)
    write.write_onnx(tmp_path / "m", model, {}, chunks=chunks)
    assert not (tmp_path / "m" / "encoder.onnx").exists()
    samples = random_sounds()
    wanted = ours(model, samples, chunks, decoding_method="ctc_greedy_search")
    assert len({token for tokens, _ in wanted for token in tokens}) > 3
    order = blank_first(model.network.vocab_size, model.network.blank_id)
    found = theirs(tmp_path / "m", samples, ctc=True, bins=bins)
    assert [([order[token] for token in tokens], frames) for tokens, frames in found] == wanted
    run_read_me(tmp_path / "m", samples[1], monkeypatch)


def test_eight_bits(toy, tmp_path, random_model):
    model = random_model(toy / "bpe.model", **ENCODERS["zipformer"])
    assert write.write_onnx(tmp_path / "m", model, {}, "int8", chunks=(8, 16)) > 1e-5


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("hears the whole utterance", {"encoder": "conformer", "attention_heads": 2}),
        ("--encoder-bidirectional false", {"encoder_bidirectional": True}),
        ("needs an encoder that was trained with --causal true", {**ZIPFORMER, "causal": False}),
        ("128 channels", {**ZIPFORMER, "embed_channels": [8, 16, 32]}),
        ("for 80 filters", {**ZIPFORMER, "transducer": False, "heads": ["ctc"]}),
    ],
)
def test_encoders_that_do_not_stream(toy, tmp_path, random_model, fault, options):
    with pytest.raises(UserError, match=fault):
        write.write_onnx(tmp_path / "m", random_model(toy / "bpe.model", **options), {}, chunks=(8, 16))
    assert list(tmp_path.iterdir()) == []


def test_the_program(toy, tmp_path, save_untrained, random_model, random_sounds, capsys, monkeypatch):
    model = random_model(toy / "bpe.model")
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "bpe.model").write_bytes((toy / "bpe.model").read_bytes())
    save_untrained(exp / "epoch-1.pt", model.network.config, model.features, toy / "bpe.model")
    main([
        "--exp-dir", str(exp), "--format", "onnx", "--streaming", "true", "--chunk-size", "4",
        "--out", str(tmp_path / "m"),
    ])  # fmt: skip
    graph = onnx.load(str(tmp_path / "m" / "encoder.onnx"))
    found = {one.key: one.value for one in graph.metadata_props}
    assert found["model_type"] == "lstm" and found["T"] == found["decode_chunk_len"] == "8"
    run_read_me(tmp_path / "m", random_sounds()[1], monkeypatch)
    with pytest.raises(UserError, match="a streaming encoder, for sherpa-onnx"):
        rnnt.load_model(tmp_path / "m")
    with pytest.raises(SystemExit):
        main(["--exp-dir", str(exp), "--streaming", "true", "--out", str(tmp_path / "other")])
    assert "--streaming is of --format onnx" in capsys.readouterr().err
