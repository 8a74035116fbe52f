"""Folders of ONNX graphs through `rnnt.load_model`: what PyTorch finds, without PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

import rnnt
from rnnt.checkpoints.model_dir import read_model_dir
from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.errors import UserError
from rnnt.transcribe import main as transcribe
from rnnt.transcription.config import ChunkConfig
from rnnt.transcription.onnx.fbank import NumpyFbank
from rnnt.transcription.recognizer import Recognizer

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def pair(toy, random_model, tmp_path_factory):
    """(the recogniser of PyTorch, that of ONNX, folder) of a model with an LSTM predictor and a CTC layer."""
    from rnnt.checkpoints.onnx.write import write_onnx

    model = random_model(toy / "bpe.model", ["ctc"], predictor="lstm", encoder_bidirectional=True)
    folder = tmp_path_factory.mktemp("onnx") / "m"
    write_onnx(folder, model, {})
    return Recognizer(model.network, model.features, model.tokenizer), rnnt.load_model(folder), folder


def close(found, wanted):
    """Whether two transcripts agree, up to rounding of scores."""
    assert found.text == wanted.text
    for a, b in zip(found.channels, wanted.channels):
        assert [(w.word, w.start, w.end) for w in a.words] == [(w.word, w.start, w.end) for w in b.words]
        assert [w.confidence for w in a.words] == pytest.approx([w.confidence for w in b.words], abs=1e-3)
        assert [n.text for n in a.nbest] == [n.text for n in b.nbest]
        assert [n.score for n in a.nbest] == pytest.approx([n.score for n in b.nbest], abs=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_sym_per_frame": 1},
        {"max_sym_per_utt": 5, "confidence": "entropy"},
        {"blank_penalty": 2.0, "temperature": 1.7},
        {"decoding_method": "modified_beam_search"},
        {"decoding_method": "modified_beam_search", "beam_size": 8, "nbest": 3, "length_norm": False},
        {"decoding_method": "ctc_greedy_search", "blank_penalty": 3.0},
    ],
    ids=str,
)
def test_the_same_transcripts_as_pytorch(pair, random_sounds, options):
    ours, exported, _ = pair
    audio = random_sounds(6)
    wanted = ours.transcribe(audio, 8000, **options)
    assert sum(bool(one.text) for one in wanted) > 2
    for found, one in zip(exported.transcribe(audio, 8000, **options), wanted):
        close(found, one)


def test_long_audio_of_several_channels_and_another_rate(pair, random_sounds):
    ours, exported, _ = pair
    audio = np.tile(np.concatenate(random_sounds(6)), (2, 1))
    audio[1] = audio[1, ::-1]
    chunks = ChunkConfig(chunk_seconds=3.0, overlap_seconds=1.0, batch_seconds=10.0)
    close(exported.transcribe(audio, 11025, chunks=chunks), ours.transcribe(audio, 11025, chunks=chunks))


def test_no_torch_is_needed(pair, random_sounds, tmp_path):
    _, exported, folder = pair
    soundfile.write(tmp_path / "a.wav", random_sounds()[2], 8000, subtype="FLOAT")
    code = """
import sys
for name in ("torch", "lhotse", "k2", "kaldifeat", "torchaudio"):
    sys.modules[name] = None
import rnnt
print(rnnt.load_model(sys.argv[1]).transcribe(sys.argv[2]).text)
"""
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "a.wav")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == exported.transcribe(tmp_path / "a.wav").text.strip()


def test_the_program(pair, random_sounds, tmp_path, capsys):
    _, exported, folder = pair
    soundfile.write(tmp_path / "a.wav", random_sounds()[1], 8000, subtype="FLOAT")
    transcribe(["--model", str(folder), str(tmp_path / "a.wav")])
    assert capsys.readouterr().out.strip() == exported.transcribe(tmp_path / "a.wav").text.strip()
    for options in (["--context-file", "x"], ["--decoding-method", "beam_search"], ["--length-bonus", "1"]):
        with pytest.raises(SystemExit):
            transcribe(["--model", str(folder), *options, str(tmp_path / "a.wav")])
        assert "ONNX graphs" in capsys.readouterr().err


def test_what_is_not_there_is_said(pair, tmp_path):
    _, exported, folder = pair
    for options, fault in (({"decoding_method": "beam_search"}, "can't be used"), ({"hotwords": ["a"]}, "no option")):
        with pytest.raises(UserError, match=fault):
            exported.transcribe(np.zeros(800, np.float32), 8000, **options)
    with pytest.raises(UserError, match="holds ONNX graphs"):
        read_model_dir(folder)
    assert "<OnnxRecognizer lstm + lstm + ctc, " in repr(exported)


def test_streams_are_refused_in_one_line(pair, tmp_path, capsys):
    _, exported, folder = pair
    with pytest.raises(UserError, match="ONNX graphs hear whole utterances here"):
        exported.stream()
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    for option in (["--streaming", "true"], ["--chunk-size", "16"]):
        with pytest.raises(SystemExit):
            transcribe(["--model", str(folder), *option, str(tmp_path / "a.wav")])
        error = capsys.readouterr().err
        assert "graphs hear whole utterances here" in error and error.count("\n") == 1


def test_a_changed_file_is_refused(pair, tmp_path):
    import shutil

    _, _, folder = pair
    copy = shutil.copytree(folder, tmp_path / "m")
    with open(copy / "decoder.onnx", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="decoder.onnx: not the file that config.json describes"):
        rnnt.load_model(copy)


@pytest.mark.parametrize(("rate", "bins", "high"), [(8000, 40, -400.0), (16000, 80, -400.0), (11025, 23, 5112.5)])
@pytest.mark.parametrize("samples", [401, 1000, 8011])
def test_features_are_those_of_training(rate, bins, high, samples):
    config = FeatureConfig(sampling_rate=rate, num_mel_bins=bins, high_freq=high)
    audio = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    wanted = make_extractor(config).extract(audio)
    found = NumpyFbank(config).extract(audio)
    assert found.dtype == np.float32 and found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert torch.from_numpy(found).isfinite().all()
