"""What all recorders have in common: trouble, numbers, and that there are several of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rnnt.errors import one_line

if TYPE_CHECKING:
    import logging

PREFIXES = {"progress": "train", "dev": "dev"}


class Recorder:
    """Base of all recorders; a subclass has the three methods that begin with an underscore.

    Args:
        where: it writes, and `what`: for the warning.
        log: of the run.
    """

    def __init__(self, where: object, what: str, log: logging.Logger) -> None:
        self._where, self._what, self._log, self._works = where, what, log, True

    def open(self, config: Mapping[str, Any]) -> None:
        """Begin; `config` has all options of the run."""
        self._try(self._open, config)

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Record what has happened after `step` updates."""
        self._try(self._record, kind, step, values)

    def close(self) -> None:
        """End, with all written."""
        self._try(self._close)

    def _try(self, call: Any, *arguments: Any) -> None:
        if self._works:
            try:
                call(*arguments)
            except Exception as error:  # packages of others pass on whatever they met
                reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
                self._log.warning("%s: no more %s: %s", self._where, self._what, reason)
                self._works = False

    def _open(self, config: Mapping[str, Any]) -> None:
        pass

    def _record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        pass


class Recorders:
    """All recorders of a run: the main process has some, the others none."""

    def __init__(self, recorders: list[Recorder]) -> None:
        self._recorders = recorders

    def open(self, config: Mapping[str, Any]) -> None:
        """Begin all."""
        for recorder in self._recorders:
            recorder.open(config)

    def record(self, kind: str, step: int, **values: object) -> None:
        """Tell all; numbers that are not finite become None."""
        finite = {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in values.items()}
        for recorder in self._recorders:
            recorder.record(kind, step, finite)

    def close(self) -> None:
        """End all."""
        for recorder in self._recorders:
            recorder.close()


def numbers(kind: str, values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record of progress or of the dev set as `train/...` or `dev/...`; of others none."""
    prefix = PREFIXES.get(kind)
    several = {f"wer {name}": wer for name, wer in values.get("wers", {}).items()}  # of dev sets
    found = {n: v for n, v in {**values, **several}.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {f"{prefix}/{name}": value for name, value in found.items()} if prefix else {}
