"""training.jsonl: a line for each record."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.training.recorders.base import Recorder

if TYPE_CHECKING:
    import logging


class JsonLines(Recorder):
    """training.jsonl of an experiment: an object a line, for report.py and for whatever reads JSON.

    Beside the values each has `kind`, `time` (seconds since 1970) and `step`.
    """

    def __init__(self, path: Path, log: logging.Logger) -> None:
        super().__init__(path, "lines", log)
        self._path = path

    def _record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        line = json.dumps({"kind": kind, "time": round(time.time(), 3), "step": step, **values}, ensure_ascii=False)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
