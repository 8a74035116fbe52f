"""Exported models in stock sherpa-onnx: the same tokens at the same times as our own search."""

import json
import re

import pytest
import torch

from rnnt.checkpoints.averaging import TrainedModel
from rnnt.checkpoints.onnx import check, write
from rnnt.checkpoints.onnx.graphs import DecoderGraph
from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.errors import UserError
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.result import Hypothesis

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
sherpa_onnx = pytest.importorskip("sherpa_onnx")

RATE, BINS = 8000, 24
ZIPFORMER = {
    "encoder": "zipformer", "num_encoder_layers": [1], "downsampling_factor": [1, 2], "encoder_dim": [32, 48],
    "encoder_unmasked_dim": [32], "feedforward_dim": [32], "num_heads": [2], "cnn_module_kernel": [7],
}  # fmt: skip
ENCODERS = {
    "lstm": {"encoder": "lstm"},
    "bilstm": {"encoder": "lstm", "encoder_bidirectional": True},
    "deep_lstm": {"encoder": "deep_lstm", "encoder_hidden_dim": 40, "feedforward_dim": 32},
    "stacked_lstm": {"encoder": "stacked_lstm", "encoder_layers": 3},
    "conformer": {"encoder": "conformer", "attention_heads": 2, "feedforward_dim": 32, "conv_kernel": 7},
    "conformer with adapters": {
        "encoder": "conformer",
        "attention_heads": 2,
        "feedforward_dim": 32,
        "conv_kernel": 7,
        "adapter_dim": 4,
    },
    "zipformer with adapters": {**ZIPFORMER, "adapter_dim": 4},
    "zipformer": ZIPFORMER,
    "causal zipformer": {**ZIPFORMER, "causal": True, "chunk_size": [8], "left_context_frames": [16]},
}


def ours(model, samples, **options):
    """(tokens, frames) of each sound by our own search, with the numbers of the graphs."""
    extractor, network = make_extractor(model.features), model.network
    graph_id = {token: i for i, token in enumerate(write.blank_first(network.vocab_size, network.blank_id))}
    found = []
    for sound in samples:
        x_BTF = torch.from_numpy(extractor.extract(sound))[None]
        with torch.no_grad():
            h_BTD, h_len_B = network.encode(x_BTF, torch.tensor([x_BTF.shape[1]]))
        best = search(network, h_BTD, h_len_B, SearchConfig(max_sym_per_frame=1, **options))[0][0]
        found.append(([graph_id[token] for token in best.tokens], list(best.frames)))
    return found


def theirs(recognizer, samples, folder, rate=RATE, **options):
    """The same by sherpa-onnx, in one batch."""
    streams = []
    for sound in samples:
        stream = recognizer.create_stream(**options)
        stream.accept_waveform(rate, sound)
        streams.append(stream)
    recognizer.decode_streams(streams)
    ids = token_ids(folder)
    return [([ids[t] for t in s.result.tokens], [round(t / 0.04) for t in s.result.timestamps]) for s in streams]


def token_ids(folder):
    lines = (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()
    # sherpa-onnx shows a space for the mark of a word's beginning.
    return {line.rsplit(" ", 1)[0].replace("\u2581", " "): int(line.rsplit(" ", 1)[1]) for line in lines}


def recognizer_of(folder, **options):
    return sherpa_onnx.OfflineRecognizer.from_transducer(
        *(str(folder / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")), str(folder / "tokens.txt"),
        num_threads=1, sample_rate=RATE, feature_dim=BINS, **options,
    )  # fmt: skip


IN_FAST_TESTS = ("bilstm", "conformer", "causal zipformer")
SLOW = pytest.mark.slow


@pytest.mark.parametrize("encoder", [pytest.param(e, marks=[] if e in IN_FAST_TESTS else [SLOW]) for e in ENCODERS])
def test_sherpa_onnx_finds_the_same_tokens_at_the_same_times(toy, tmp_path, encoder, random_model, random_sounds):
    model = random_model(toy / "bpe.model", **ENCODERS[encoder])
    write.write_onnx(tmp_path / "m", model, {})
    samples = random_sounds()
    wanted = ours(model, samples)
    assert len({token for tokens, _ in wanted for token in tokens}) > 3
    assert theirs(recognizer_of(tmp_path / "m"), samples, tmp_path / "m") == wanted


@pytest.mark.parametrize(
    "predictor",
    [
        pytest.param({"context_size": 1}, marks=SLOW),
        {"context_size": 3},
        pytest.param({"icefall_predictor": True}, marks=SLOW),
        pytest.param({"predictor": "lstm"}, marks=SLOW),
        {"predictor": "lstm", "predictor_layers": 2, "joiner_activation": "relu"},
    ],
    ids=str,
)
def test_predictors_and_a_blank_behind_the_tokens(blank_last, tmp_path, predictor, random_model, random_sounds):
    model = random_model(blank_last, **predictor)
    assert model.tokenizer.blank_id == model.tokenizer.vocab_size - 1
    write.write_onnx(tmp_path / "m", model, {})
    samples = random_sounds()
    wanted = ours(model, samples)
    assert max(len(tokens) for tokens, _ in wanted) > 8
    assert theirs(recognizer_of(tmp_path / "m"), samples, tmp_path / "m") == wanted
    names = (tmp_path / "m" / "tokens.txt").read_text(encoding="utf-8").splitlines()
    assert names[0] == "<blk> 0" and names[1] == f"{model.tokenizer.tokens[0]} 1"


def test_modified_beam_search_and_hotwords(toy, tmp_path, random_model, random_sounds):
    model = random_model(toy / "bpe.model", **ENCODERS["bilstm"])
    with torch.no_grad():
        model.network.joiner.output.weight.mul_(0.5)  # less sure, so that the beam holds the hotword
    write.write_onnx(tmp_path / "m", model, {})
    samples = random_sounds(6)
    beam = recognizer_of(tmp_path / "m", decoding_method="modified_beam_search")
    found, wanted = theirs(beam, samples, tmp_path / "m"), ours(model, samples, decoding_method="modified_beam_search")
    assert sum(a[0] == b[0] for a, b in zip(found, wanted)) >= len(samples) - 1
    (tmp_path / "hotwords").write_text("three\n")
    hot = recognizer_of(
        tmp_path / "m", decoding_method="modified_beam_search", modeling_unit="bpe", hotwords_score=9.0,
        bpe_vocab=str(tmp_path / "m" / "bpe.vocab"), hotwords_file=str(tmp_path / "hotwords"),
    )  # fmt: skip
    names = {i: name for name, i in token_ids(tmp_path / "m").items()}

    def number_of(recognizer):
        texts = ("".join(names[i] for i in tokens) for tokens, _ in theirs(recognizer, samples, tmp_path / "m"))
        return sum(text.count("three") for text in texts)

    assert number_of(hot) > number_of(beam)


def test_ctc_layers(blank_last, tmp_path, random_model, random_sounds):
    model = random_model(blank_last, ["ctc"], **ENCODERS["conformer"], transducer=False)
    write.write_onnx(tmp_path / "m", model, {})
    assert not (tmp_path / "m" / "encoder.onnx").exists()
    recognizer = sherpa_onnx.OfflineRecognizer.from_zipformer_ctc(
        str(tmp_path / "m" / "ctc.onnx"), str(tmp_path / "m" / "tokens.txt"), sample_rate=RATE, feature_dim=BINS
    )
    samples = random_sounds()
    wanted = ours(model, samples, decoding_method="ctc_greedy_search")
    assert any(tokens for tokens, _ in wanted)
    assert theirs(recognizer, samples, tmp_path / "m") == wanted


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("frontend slaney_log_mel", {"frontend": "slaney_log_mel", "frame_length_ms": 20.0, "low_freq": 0.0}),
        ("frame_shift_ms 12.5", {"frame_shift_ms": 12.5}),
        ("low_freq 30", {"low_freq": 30.0}),
        ("high_freq 3000", {"high_freq": 3000.0}),
        ("snip_edges True", {"snip_edges": True}),
    ],
)
def test_a_front_end_that_sherpa_onnx_does_not_compute_is_refused(toy, tmp_path, fault, options, random_model):
    model = random_model(toy / "bpe.model")
    features = FeatureConfig(sampling_rate=RATE, num_mel_bins=BINS, **options)
    with pytest.raises(UserError, match=fault):
        write.write_onnx(tmp_path / "m", TrainedModel(model.network, features, model.tokenizer, ""), {})
    assert list(tmp_path.iterdir()) == []


def test_durations_are_refused(toy, tmp_path, random_model):
    with pytest.raises(UserError, match="how long each token lasts"):
        write.write_onnx(tmp_path / "m", random_model(toy / "bpe.model", ["tdt"]), {})


def test_a_graph_that_differs_leaves_nothing(toy, tmp_path, monkeypatch, random_model):
    model = random_model(toy / "bpe.model")
    forward = DecoderGraph.forward
    monkeypatch.setattr(DecoderGraph, "forward", lambda self, y_NC: forward(self, y_NC) * 1.01)
    with pytest.raises(UserError, match="decoder.onnx: onnxruntime differs"):
        write.write_onnx(tmp_path / "m", model, {})
    assert list(tmp_path.iterdir()) == []


def test_metadata_and_versions_for_old_runtimes(toy, tmp_path, random_model):
    write.write_onnx(tmp_path / "m", random_model(toy / "bpe.model"), {})
    wanted = {"encoder": {"model_type": "zipformer2"}, "decoder": {"context_size": "2"}, "joiner": {"joiner_dim": "20"}}
    for name, values in wanted.items():
        graph = onnx.load(str(tmp_path / "m" / f"{name}.onnx"))
        assert graph.ir_version <= 8 and [one.version for one in graph.opset_import if not one.domain] == [13]
        found = {one.key: one.value for one in graph.metadata_props}
        assert values.items() <= found.items()
    description = json.loads((tmp_path / "m" / "config.json").read_text())
    assert set(description["sha256"]) == {
        "encoder.onnx", "decoder.onnx", "joiner.onnx", "tokens.txt", "bpe.model", "bpe.vocab"
    }  # fmt: skip


def test_the_commands_of_the_readme_run(toy, tmp_path, monkeypatch, random_model, random_sounds):
    import soundfile

    write.write_onnx(tmp_path / "m", random_model(toy / "bpe.model", ["ctc"]), {})
    monkeypatch.chdir(tmp_path / "m")
    soundfile.write("speech.wav", random_sounds()[1], RATE)
    blocks = re.findall(r"```python\n(.*?)```", (tmp_path / "m" / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks[1:]:
        exec(compile(block, "README.md", "exec"), {})


def test_the_program(toy, tmp_path, save_untrained, capsys, random_model):
    from rnnt.export_model import main

    model = random_model(toy / "bpe.model")
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "bpe.model").write_bytes((toy / "bpe.model").read_bytes())
    save_untrained(tmp_path / "exp" / "epoch-1.pt", model.network.config, model.features, toy / "bpe.model")
    main(["--exp-dir", str(tmp_path / "exp"), "--format", "onnx", "--out", str(tmp_path / "m")])
    assert re.search(r"onnxruntime and PyTorch agree within \S+e-0[5-9]", capsys.readouterr().out)
    trained = {one.name for one in onnx.load(str(tmp_path / "m" / "encoder.onnx")).graph.input}
    assert trained == {"x", "x_lens"}
    with pytest.raises(SystemExit):
        main(["--exp-dir", str(tmp_path / "exp"), "--format", "onnx", "--out", str(tmp_path / "m")])


def test_the_check_sees_other_lengths():
    assert min(min(lengths) for lengths in check.LENGTHS) == 9  # the fewest frames of a Zipformer
    assert any(len(lengths) > 1 for lengths in check.LENGTHS)


@pytest.mark.parametrize(
    ("encoder", "precision"),
    [
        ("deep_lstm", "int8"),
        pytest.param("deep_lstm", "fp16", marks=SLOW),
        pytest.param("zipformer", "int8", marks=SLOW),
        ("zipformer", "fp16"),
    ],
)
def test_smaller_graphs(toy, tmp_path, random_model, random_sounds, precision, encoder):
    wide = {"encoder_dim": 96, "encoder_hidden_dim": 160} if encoder == "deep_lstm" else {"feedforward_dim": [384]}
    model = random_model(toy / "bpe.model", **{**ENCODERS[encoder], **wide}, predictor="lstm", predictor_dim=96)
    write.write_onnx(tmp_path / "whole", model, {})
    difference = write.write_onnx(tmp_path / "m", model, {}, precision)
    assert 1e-5 < difference < check.TOLERANCES[precision]
    sizes = [sum(p.stat().st_size for p in (tmp_path / name).glob("*.onnx")) for name in ("m", "whole")]
    # Of a Zipformer so small the graph itself is a good part.
    most = {"int8": 0.4, "fp16": 0.6}[precision] + (0.1 if encoder == "zipformer" else 0)
    assert sizes[0] < most * sizes[1]
    samples = random_sounds()
    found, wanted = theirs(recognizer_of(tmp_path / "m"), samples, tmp_path / "m"), ours(model, samples)
    assert [bool(tokens) for tokens, _ in found] == [bool(tokens) for tokens, _ in wanted]


def test_whole_transcripts_are_compared(
    toy, tmp_path, save_untrained, random_model, random_sounds, capsys, monkeypatch
):
    import soundfile

    from rnnt.export_model import main
    from rnnt.transcription.onnx import search as numpy_search

    model = random_model(toy / "bpe.model")
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "bpe.model").write_bytes((toy / "bpe.model").read_bytes())
    save_untrained(exp / "epoch-1.pt", model.network.config, model.features, toy / "bpe.model")
    for i, sound in enumerate(random_sounds(2)):
        soundfile.write(tmp_path / f"{i}.wav", sound, RATE)
    argv = ["--exp-dir", str(exp), "--format", "onnx", "--check", str(tmp_path)]
    main([*argv, "--out", str(tmp_path / "m")])
    main([*argv, "--out", str(tmp_path / "small"), "--quantize", "int8"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 of 2 transcripts are the same as PyTorch's" and "of 2 transcripts" in lines[2]
    monkeypatch.setitem(numpy_search.SEARCHES, "greedy_search", lambda graphs, x, lengths, config: [
        (int(length), [Hypothesis((3,), (0,), (0.0,), (1.0,), 0.0)]) for length in lengths
    ])  # fmt: skip
    with pytest.raises(SystemExit):
        main([*argv, "--out", str(tmp_path / "wrong")])
    assert "0.wav: PyTorch writes" in capsys.readouterr().err and not (tmp_path / "wrong").exists()
    with pytest.raises(SystemExit):
        main(["--exp-dir", str(exp), "--out", str(tmp_path / "other"), "--quantize", "int8"])
    assert "are of --format onnx" in capsys.readouterr().err
