"""Which recogniser a folder needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.transcription.onnx.graphs import is_onnx

if TYPE_CHECKING:
    from rnnt.transcription.base import BaseRecognizer


def open_model(folder: str | Path, device: str = "auto", threads: int | None = None) -> BaseRecognizer:
    """The recogniser of a model directory, or of a folder of ONNX graphs, for which torch is not loaded.

    Args:
        folder: as export_model.py writes it.
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        threads: of the processor; 0: as many as cores; None: as they are.
    """
    if is_onnx(folder):
        from rnnt.transcription.onnx.recognizer import load_onnx

        return load_onnx(folder, device, threads or 0)
    from rnnt.distributed.device import set_threads
    from rnnt.transcription.recognizer import load_recognizer

    if threads is not None:
        set_threads(threads, 1)
    return load_recognizer(folder, device)
