"""TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.training.recorders.base import Recorder, numbers

if TYPE_CHECKING:
    import logging


class TensorBoard(Recorder):
    """TensorBoard events in a folder: `train/loss`, `dev/wer` and so on, and a sample of the dev set."""

    def __init__(self, folder: Path, log: logging.Logger) -> None:
        super().__init__(folder, "TensorBoard events", log)
        self._folder = folder
        self._writer: Any = None

    def _open(self, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self._folder)

    def _record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        for name, value in numbers(kind, values).items():
            self._writer.add_scalar(name, value, step)
        if kind == "dev" and "ref" in values:
            self._writer.add_text("dev/sample", f"ref: {values['ref']}\n\nhyp: {values['hyp']}", step)

    def _close(self) -> None:
        self._writer.close()
