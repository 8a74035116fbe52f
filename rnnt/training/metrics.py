"""Running sums of what training reports, and the lines and events made of them."""

import json
import math
import time
from pathlib import Path

from rnnt.errors import UserError


class Tally:
    """Sums by name, for means over any stretch of updates and any number of ranks."""

    def __init__(self):
        self.sums = {}

    def add(self, **values):
        """Add to each named sum; None is left out. Tensors stay on their device until the sums are read."""
        for name, value in values.items():
            if value is not None:
                self.sums[name] = self.sums.get(name, 0.0) + value

    def numbers(self):
        """The sums as plain numbers."""
        return {name: float(value) for name, value in self.sums.items()}


def add_up(dictionaries):
    """One dictionary with the sums of several, by name."""
    total = Tally()
    for numbers in dictionaries:
        total.add(**numbers)
    return total.sums


def duration_text(seconds):
    """95 -> `1m 35s`, for progress lines."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {seconds:02d}s"


class Clock:
    """How fast it goes and how long it takes still. Progress is a share of the whole, 0 to 1."""

    def __init__(self, progress):
        self._start = (time.monotonic(), progress)
        self._lap = time.monotonic()

    def lap(self):
        """Seconds since the last lap."""
        before, self._lap = self._lap, time.monotonic()
        return self._lap - before

    def left(self, progress):
        """Seconds until the end at the pace so far."""
        began, first = self._start
        done = progress - first
        return (time.monotonic() - began) / done * (1 - progress) if done > 0 else math.inf


def append_json_line(path, record):
    """Add one record to a JSON-lines file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_epochs(exp_dir):
    """`{epoch: record}` of `<exp_dir>/epochs.jsonl`; of several records of an epoch the last one counts."""
    path = Path(exp_dir) / "epochs.jsonl"
    if not path.exists():
        return {}
    records = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            records[record["epoch"]] = record
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: line {number} is broken; remove the line") from None
    return records


class Events:
    """TensorBoard events, or nothing when it is switched off."""

    def __init__(self, folder, enabled):
        self._writer = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(folder)

    def scalars(self, step, **values):
        """Write each named number that is finite."""
        if self._writer is not None:
            for name, value in values.items():
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(name.replace("__", "/"), value, step)

    def text(self, step, name, value):
        """Write a text."""
        if self._writer is not None:
            self._writer.add_text(name, value, step)

    def close(self):
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()
