"""Every kind of model goes all the way: training, averaging, decoding, a model directory, transcription."""

import json

import numpy as np
import pytest

import rnnt
from rnnt import decode, export_model, train
from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.model.encoders import ENCODERS

# Sizes that make a quick test; an encoder that is not named has its defaults.
KINDS = {
    "deep_lstm": {"encoder_layers": 2, "encoder_hidden_dim": 32, "feedforward_dim": 48},
    "conformer": {"encoder_layers": 2, "attention_heads": 2, "feedforward_dim": 48, "conv_kernel": 7},
    "stacked_lstm": {
        "encoder_layers": 3, "subsampling_factor": 6, "predictor": "lstm", "predictor_layers": 2, "loss": "full",
        "joiner_activation": "relu", "joiner_dropout": 0.1,
    },
    "zipformer": {
        "num_encoder_layers": "1,1", "downsampling_factor": "1,2", "encoder_dim": "16,24", "encoder_unmasked_dim": "12",
        "feedforward_dim": "32", "num_heads": "2", "cnn_module_kernel": "5", "query_head_dim": "8", "pos_dim": "16",
        "causal": "true", "chunk_size": "8,-1", "left_context_frames": "16,-1",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", ENCODERS)
def test_from_training_to_transcripts(kind, tmp_path, toy, toy_argv):
    exp, out = tmp_path / "exp", tmp_path / "model"
    train.main(toy_argv(exp, encoder=kind, **KINDS.get(kind, {})))
    few = ["--decode-sets", "dev", "--threads", "1", "--num-workers", "0"]
    decode.main(["--exp-dir", str(exp), "--manifest-dir", str(toy), "--avg", "2", *few])
    folder = exp / "decode_greedy_search_avg-2" / "dev"
    decoded = {line["id"]: line for line in map(json.loads, (folder / "utterances.jsonl").open())}
    assert len(decoded) == 9

    if kind == "zipformer":
        chunks = ["--chunk-size", "8", "--left-context-frames", "16"]
        for more in ([], ["--streaming", "true"]):
            decode.main(["--exp-dir", str(exp), "--manifest-dir", str(toy), "--avg", "2", *few, *chunks, *more])
        names = ("avg-2_chunk-8_left-16", "avg-2_streaming_chunk-8_left-16")
        folders = [exp / f"decode_greedy_search_{name}" / "dev" for name in names]
        assert (folders[0] / "hyp.trn").read_text() == (folders[1] / "hyp.trn").read_text()
        with pytest.raises(SystemExit):
            decode.main(["--exp-dir", str(exp), "--manifest-dir", str(toy), *few, "--streaming", "true"])
        with pytest.raises(SystemExit):
            decode.main(["--exp-dir", str(exp), "--manifest-dir", str(toy), *few, *chunks[:2]])

    export_model.main(["--exp-dir", str(exp), "--out", str(out), "--avg", "2"])
    recognizer = rnnt.load_model(str(out), device="cpu")
    ours = load_for_decoding(exp, Selection(avg=2)).network
    state = recognizer.model.state_dict()
    assert state and all((ours.state_dict()[name] == value).all() for name, value in state.items())

    samples = np.random.default_rng(0).normal(size=8000 * 3).astype(np.float32) * 0.1
    (channel,) = recognizer.transcribe(samples, sampling_rate=8000).channels
    assert all(0 <= word.start <= word.end <= 3.1 for word in channel.words)
    assert recognizer.seconds_per_frame == pytest.approx(0.06 if kind == "stacked_lstm" else 0.04)
