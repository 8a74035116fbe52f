"""epochs.jsonl: what training measured at the end of each epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rnnt.errors import UserError, one_line
from rnnt.files import atomic_write

MEASURES = ("dev_wer", "dev_perplexity")  # of a recogniser, of a language model; the lower, the better


def measure_of(record: dict[str, Any]) -> float:
    """By what epochs are compared."""
    return next(float(record[name]) for name in MEASURES if name in record)


def append_json_line(path: str | Path, record: dict[str, Any]) -> None:
    """Add one record to a JSON-lines file, which a process that is killed leaves as it was or complete."""
    path = Path(path)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    with atomic_write(path) as file:
        file.write(before + json.dumps(record, ensure_ascii=False) + "\n")


def read_epochs(exp_dir: str | Path) -> dict[int, dict[str, Any]]:
    """`{epoch: record}` of `<exp_dir>/epochs.jsonl`; of several records of an epoch the last one counts.

    Raises:
        UserError: the file can't be read, or naming the line that is no record.
    """
    path = Path(exp_dir) / "epochs.jsonl"
    records: dict[int, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return records
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't read it ({one_line(error)}); remove it") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not _is_record(record):
                raise ValueError("no record of an epoch")
        except (ValueError, RecursionError):
            raise UserError(f"{path}: line {number} is broken; remove the line") from None
        records[record["epoch"]] = record
    return records


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict) or type(record.get("epoch")) is not int or record["epoch"] < 1:
        return False
    found = [record[name] for name in MEASURES if name in record]
    return len(found) == 1 and type(found[0]) in (int, float) and not math.isnan(found[0])
