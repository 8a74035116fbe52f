"""Every kind of model goes all the way: training, averaging, decoding, a model directory, transcription."""

import json

import numpy as np
import pytest

import rnnt
from rnnt import decode, export_model, train
from rnnt.training.averaging import load_for_decoding
from rnnt.training.config import Selection

KINDS = {
    "deep_lstm": {"encoder_layers": 2, "encoder_hidden_dim": 32, "feedforward_dim": 48},
    "conformer": {"encoder_layers": 2, "attention_heads": 2, "feedforward_dim": 48, "conv_kernel": 7},
    "stacked_lstm": {
        "encoder_layers": 3, "subsampling_factor": 6, "predictor": "lstm", "predictor_layers": 2, "loss": "full",
        "joiner_activation": "relu", "joiner_dropout": 0.1, "ctc_loss_scale": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_from_training_to_transcripts(kind, tmp_path, toy, toy_argv):
    exp, out = tmp_path / "exp", tmp_path / "model"
    train.main(toy_argv(exp, encoder=kind, **KINDS[kind]))
    few = ["--decode-sets", "dev", "--threads", "1", "--num-workers", "0"]
    decode.main(["--exp-dir", str(exp), "--manifest-dir", str(toy), "--avg", "2", *few])
    folder = exp / "decode_greedy_search" / "dev"
    decoded = {line["id"]: line for line in map(json.loads, (folder / "utterances.jsonl").open())}
    assert len(decoded) == 9

    export_model.main(["--exp-dir", str(exp), "--out", str(out), "--avg", "2"])
    recognizer = rnnt.load_model(str(out), device="cpu")
    ours, _, _, _ = load_for_decoding(exp, Selection(avg=2))
    state = recognizer.model.state_dict()
    assert state and all((ours.state_dict()[name] == value).all() for name, value in state.items())

    samples = np.random.default_rng(0).normal(size=8000 * 3).astype(np.float32) * 0.1
    (channel,) = recognizer.transcribe(samples, sampling_rate=8000).channels
    assert all(0 <= word.start <= word.end <= 3.1 for word in channel.words)
    assert recognizer.frame_seconds == pytest.approx(0.06 if kind == "stacked_lstm" else 0.04)
