"""What an experiment folder says of its training so far: training.jsonl, and epochs.jsonl where there is no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnt.checkpoints.epochs import read_epochs
from rnnt.errors import UserError
from rnnt.pages.svg import Point


@dataclass(frozen=True)
class Evaluation:
    """The dev set after an epoch; rates in percent, None where they are not known. `wers` has those of several sets."""

    epoch: int
    wer: float
    cer: float | None = None
    blank_fraction: float | None = None
    ref: str = ""
    hyp: str = ""
    wers: dict[str, float] = field(default_factory=dict)


@dataclass
class History:
    """A training as its last start has left it: what a restart made anew is not in it twice.

    Attributes:
        name: of the experiment.
        epochs: how many it is to have; 0 where that is not known.
        evaluations: of the dev set, in order.
        progress: records of kind `progress`, in order; `epoch` is the fraction of the training in epochs.
        starts: (time, update) of each start.
        skipped: (update, utterances) of each update that was skipped.
        ended: whether the last run came to its end: True, False (it failed or was stopped), None (it runs, or was
            killed).
    """

    name: str
    epochs: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    progress: list[dict[str, Any]] = field(default_factory=list)
    starts: list[Point] = field(default_factory=list)
    skipped: list[tuple[int, list[str]]] = field(default_factory=list)
    ended: bool | None = None

    def dev_sets(self) -> list[str]:
        """The dev sets, where there are several."""
        return list(self.evaluations[-1].wers) if self.evaluations else []

    def curve(self, value: str) -> list[Point]:
        """(epochs, value) of a number in the progress records."""
        return [(r["epoch"], r[value]) for r in self.progress if isinstance(r.get(value), (int, float))]

    def losses(self) -> list[str]:
        """The names of the losses, the one that is minimised first."""
        known = {"kind", "time", "step", "epoch", "done", "lr", "grad_norm", "memory_bytes"}
        last = self.progress[-1] if self.progress else {}
        return [name for name in last if name not in known and not name.endswith("_per_second")]


def read_history(exp_dir: str | Path) -> History:
    """The history of an experiment.

    Raises:
        UserError: there is no training in the folder.
    """
    folder = Path(exp_dir)
    history = History(folder.name or str(folder))
    for record in _records(folder / "training.jsonl"):
        _take(history, record)
    if not history.evaluations:
        for epoch, found in sorted(read_epochs(folder).items()):
            if "dev_wer" not in found:
                raise UserError(
                    f"{folder}: of a language model; the page is about recognisers, training.jsonl has its numbers"
                )
            history.evaluations.append(Evaluation(epoch, found["dev_wer"], None, found.get("blank_fraction")))
    if not (history.starts or history.evaluations):
        raise UserError(f"{folder}: neither training.jsonl nor epochs.jsonl in it; train.py writes them")
    return history


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file that may be written at this moment, or was when its process was killed."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}") from None
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # half a line
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            yield record


def _take(history: History, record: dict[str, Any]) -> None:
    kind, step = record.get("kind"), record["step"]
    if kind == "start":
        history.progress = [r for r in history.progress if r["step"] <= step]
        history.skipped = [(s, names) for s, names in history.skipped if s < step]
        history.starts.append((record.get("time", 0.0), step))
        history.epochs = record.get("epochs", 0)
        history.ended = None
    elif kind == "progress" and isinstance(record.get("epoch"), (int, float)):
        history.progress.append(record)
    elif kind == "dev" and isinstance(record.get("wer"), (int, float)):
        names = ("epoch", "wer", "cer", "blank_fraction", "ref", "hyp", "wers")
        found = Evaluation(**{name: record[name] for name in names if name in record})
        history.evaluations = [e for e in history.evaluations if e.epoch < found.epoch] + [found]
    elif kind == "skipped":
        history.skipped.append((step, list(record.get("utterances", []))))
    elif kind == "end":
        history.ended = bool(record.get("success"))
