"""Train and score RNN-T (transducer) speech recognisers.

    model = rnnt.load_model("model")                                     a model directory, see export_model.py
    model.transcribe("talk.mp3").text                                    any format, rate and length
    model.transcribe(samples, 16000, decoding_method="modified_beam_search", nbest=4, hotwords=["some name"])
    rnnt.import_icefall("pretrained.pt", tokens="lang", out="model")     a Zipformer that icefall trained

    from rnnt.loss import rnnt_loss_pruned                               k2's losses, same arguments and numbers

The programs are train.py, decode.py, score.py, export_model.py, import_icefall.py and transcribe.py. docs/python.md
shows more.

Importing the package loads nothing heavy: each part imports torch, lhotse and the optional packages where it uses them.

Shape letters in names of tensors: B batch, T frames, U tokens + 1, S tokens, V vocabulary, F features, D model width,
R prune range. `x_BTF` is a (batch, frames, features) tensor; lengths are `x_len_B`.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rnnt.errors import UserError
    from rnnt.model.transducer import Transducer
    from rnnt.search.config import SearchConfig
    from rnnt.search.result import Word
    from rnnt.transcription.base import BaseRecognizer
    from rnnt.transcription.recognizer import Recognizer
    from rnnt.transcription.result import Transcript

__version__ = "0.1.0"
__all__ = ["Recognizer", "SearchConfig", "Transcript", "UserError", "Word", "import_icefall", "load_model"]

# Where the names are from; they are imported when they are first asked for.
_HOMES = {
    "Recognizer": "rnnt.transcription.recognizer",
    "SearchConfig": "rnnt.search.config",
    "Transcript": "rnnt.transcription.result",
    "UserError": "rnnt.errors",
    "Word": "rnnt.search.result",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def load_model(path: "str | Path", device: str = "auto") -> "BaseRecognizer":
    """The model of a folder that export_model.py writes.

    Of a model directory it is a `rnnt.transcription.recognizer.Recognizer`. Of a folder of ONNX graphs it is a
    `rnnt.transcription.onnx.recognizer.OnnxRecognizer`, with the same `transcribe`, and torch is not needed.

    `load_model("model").transcribe("speech.wav").text` is the text. device: `auto` (a GPU if there is one), `cpu` or
    `cuda`. Raises `UserError` (a message for the user) when the directory is incomplete.
    """
    from rnnt.transcription.loading import open_model

    return open_model(path, device)


def import_icefall(
    checkpoint: "str | Path | Mapping[str, Any]",
    tokens: "str | Path" = "",
    out: "str | Path" = "",
    *,
    use_averaged_model: bool = False,
    average_from: "str | Path" = "",
    **sizes: Any,
) -> "Transducer":
    """The network of a Zipformer that icefall trained, in evaluation mode on the CPU; its losses are in `heads`.

    Nothing that is pickled in the file is executed.

    Args:
        checkpoint: `pretrained.pt`, `epoch-N.pt` or `checkpoint-N.pt`, or what such a file holds: a dictionary with
            the weights under `model`, or the state dict.
        tokens: `bpe.model` or `tokens.txt` of the model, or the folder with one of them; needed for `out`.
        out: model directory to write, for transcribe.py, decode.py and `load_model`; must not exist. Empty: none.
        use_averaged_model: take the mean of the weights over all updates (model_avg).
        average_from: an earlier checkpoint: take the mean over the updates since it.
        sizes: what shapes of weights do not tell, for all stacks or a list with a number for each: `query_head_dim`,
            `pos_head_dim` (4 if none of these is given), `value_head_dim` or `num_heads`; `encoder_unmasked_dim`,
            `chunk_size`, `left_context_frames` for further training.

    Raises:
        UserError: the checkpoint is of another network, broken or incomplete, or tokens or sizes do not fit.
    """
    from rnnt.checkpoints.icefall.convert import import_network, write_imported

    network = import_network(checkpoint, average_from, use_averaged_model, **sizes)
    if out:
        write_imported(network, tokens, out, "icefall" if isinstance(checkpoint, Mapping) else str(checkpoint))
    return network
