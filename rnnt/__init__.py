"""Training, decoding and scoring of RNN-T (transducer) speech recognisers.

Importing the package loads nothing heavy: each part imports torch, lhotse and the optional packages where it uses them.

Shape letters in names of tensors: B batch, T frames, U tokens + 1, S tokens, V vocabulary, F features, D model width,
R prune range. `x_BTF` is a (batch, frames, features) tensor; lengths are `x_len_B`.
"""

__version__ = "0.1.0"


def load_model(path, device="auto"):
    """The model of a model directory, which export_model.py writes: a `rnnt.transcription.recognizer.Recognizer`.

    `load_model("model").transcribe("speech.wav").text` is the text. device: `auto` (a GPU if there is one), `cpu` or
    `cuda`. Raises `UserError` (a message for the user) when the directory is incomplete.
    """
    from rnnt.transcription.recognizer import load_recognizer

    return load_recognizer(path, device)
