"""What sherpa-onnx can't run, said before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnt.errors import UserError
from rnnt.model.predictor import LSTMPredictor, StatelessPredictor

if TYPE_CHECKING:
    from rnnt.checkpoints.averaging import TrainedModel
    from rnnt.data.config import FeatureConfig

# What sherpa-onnx computes of any sampling rate and number of filters.
FRONT_END = {
    "frontend": "kaldi_fbank",
    "frame_length_ms": 25.0,
    "frame_shift_ms": 10.0,
    "low_freq": 20.0,
    "high_freq": -400.0,
    "snip_edges": False,
}


def check_front_end(features: FeatureConfig) -> None:
    """Raise UserError unless sherpa-onnx computes these features."""
    for name, value in FRONT_END.items():
        found = getattr(features, name)
        if found != value and not (name == "high_freq" and features.highest_freq == features.sampling_rate / 2 - 400):
            raise UserError(
                f"--format onnx: the model was trained with {name} {found}, and sherpa-onnx computes features with "
                f"{value} alone; export it with --format model, or train it with such features"
            )


def check_parts(trained: TrainedModel) -> None:
    """Raise UserError unless the network has parts that sherpa-onnx knows how to call."""
    network = trained.network
    if "tdt" in network.heads:
        raise UserError(
            "--format onnx: the model says how long each token lasts, and sherpa-onnx has such models with other "
            "features alone; export it with --format model"
        )
    if network.predictor is not None and not isinstance(network.predictor, (StatelessPredictor, LSTMPredictor)):
        raise UserError(
            f"--format onnx: the predictor is {network.config.predictor.name}; only stateless and lstm can be exported"
        )
    if network.predictor is None and "ctc" not in network.heads:
        raise UserError("--format onnx: the model has neither predictor and joiner nor a CTC layer")
    for token in trained.tokenizer.tokens:
        if not token or len(token.split()) != 1 or token != token.strip():
            raise UserError(f"--format onnx: the token {token!r} has blanks in it, which tokens.txt can't hold")
