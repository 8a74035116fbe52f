"""Whole transcripts of a model by PyTorch and by its ONNX graphs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.errors import UserError, counted
from rnnt.transcription.audio import Audio
from rnnt.transcription.onnx.recognizer import load_onnx
from rnnt.transcription.recognizer import Recognizer
from rnnt.transcription.run import find_inputs, open_all

if TYPE_CHECKING:
    from rnnt.checkpoints.averaging import TrainedModel


def transcripts_check(files: Sequence[str], exact: bool) -> Callable[[TrainedModel, Path], None]:
    """What compares the transcripts of files, and prints in how many cases they are the same.

    Args:
        files: audio files, folders or patterns; they are opened now, so that a bad one is said before the export.
        exact: a difference is an error.

    Raises:
        UserError: a file is bad.
    """
    opened = open_all(find_inputs(files, io.BytesIO()))[0]
    audio: list[Audio] = []
    for item in opened:
        if isinstance(item, UserError):
            raise item
        audio.append(item)

    def check(trained: TrainedModel, folder: Path) -> None:
        pytorch, graphs = Recognizer(trained.network, trained.features, trained.tokenizer), load_onnx(folder)
        different = 0
        for wanted, found in zip(pytorch.transcribe_each(audio), graphs.transcribe_each(audio)):
            for one in (wanted, found):
                if isinstance(one, UserError):
                    raise one
            if not isinstance(wanted, UserError) and not isinstance(found, UserError) and wanted.text != found.text:
                different += 1
                if exact:
                    raise UserError(
                        f"{wanted.name}: PyTorch writes {wanted.text!r}, the graphs {found.text!r}; nothing is kept"
                    )
        print(f"{len(audio) - different} of {counted(len(audio), 'transcript')} are the same as PyTorch's")

    return check
