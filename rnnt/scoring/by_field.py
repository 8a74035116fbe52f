"""Error rates by a field of the manifest: by speaker, language, gender, noise, duration, or whatever a corpus notes."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.errors import UserError
from rnnt.scoring.alignment import Counts
from rnnt.scoring.bootstrap import wer_interval
from rnnt.scoring.report import Report, subset

if TYPE_CHECKING:
    from rnnt.scoring.bootstrap import Interval

CLASSES = 6  # of numbers with more values than that: as many utterances in each
UNKNOWN = "-"


def rates_by(report: Report, values: Mapping[str, Any]) -> list[tuple[str, int, Counts, Interval]]:
    """[(value, utterances, `Counts`, 95 % interval)] of the utterances of each value, `-` where it isn't known.

    Args:
        report: of the set.
        values: {utterance id: value}. Numbers that have more than six different values are put into six classes.
    """
    groups: dict[str, list[str]] = {}
    names = _names(report, values)
    for key in report.alignments:
        groups.setdefault(names.get(key, UNKNOWN), []).append(key)
    order = {name: i for i, name in enumerate(names.values())}
    rows = []
    for name in sorted(groups, key=lambda name: order.get(name, math.inf)):
        part = subset(report, groups[name])
        rows.append((name, len(groups[name]), part.counts, wer_interval(part)))
    return rows


def _names(report: Report, values: Mapping[str, Any]) -> dict[str, str]:
    """{utterance: name of its group}, in the order of the groups."""
    known = {key: values[key] for key in report.alignments if values.get(key) is not None}
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known.values()):
        keys = sorted(known, key=lambda key: known[key])
        if len(set(known.values())) > CLASSES:
            found = {}
            for part in np.array_split(np.array(keys, dtype=object), CLASSES):
                found.update(dict.fromkeys(part.tolist(), f"{known[part[0]]:g} - {known[part[-1]]:g}"))
            return found
        return {key: f"{known[key]:g}" for key in keys}
    named = {key: value if isinstance(value, str) else json.dumps(value) for key, value in known.items()}
    return dict(sorted(named.items(), key=lambda item: item[1]))


def read_field(path: str | Path, field: str, ids: Mapping[str, object]) -> dict[str, Any]:
    """{utterance id: value} of a field of a manifest.

    The field is one of a line itself, of its `custom`, of its first supervision, or of the latter's `custom`, the first
    that has it; `recording.sampling_rate` names one within an object.

    Args:
        path: JSON lines, also packed by gzip: cuts, or utterances.jsonl of a decoded set.
        field: its name.
        ids: the utterances that are wanted.

    Raises:
        UserError: the file can't be read, has none of the utterances, or none of these has the field.
    """
    found: dict[str, Any] = {}
    seen = 0
    names: set[str] = set()
    for item in _lines(path):
        places = list(_places(item))
        key = next((str(place["id"]) for place in places if place.get("id") in ids), None)
        if key is None:
            continue
        seen += 1
        names.update(name for place in places for name in place)
        value = next((v for place in places if (v := _within(place, field)) is not None), None)
        if value is not None:
            found[key] = value
    if not seen:
        raise UserError(f"{path}: it has none of the utterances of the references; give the manifest of their set")
    if not found:
        known = ", ".join(sorted(names - {"id", "custom", "supervisions"}))
        raise UserError(f"{path}: no utterance has a field {field}; there are: {known}")
    return found


def _places(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The objects in which a field of a line may stand."""
    supervisions = item.get("supervisions") or [{}]
    for owner in (item, supervisions[0]):
        yield owner
        yield owner.get("custom") or {}


def _within(place: Any, field: str) -> Any:
    """What an object has under a name, whose dots lead into objects; None where it has nothing."""
    if isinstance(place, dict) and field in place:
        return place[field]
    first, dot, rest = field.partition(".")
    return _within(place.get(first), rest) if dot and isinstance(place, dict) else None


def _lines(path: str | Path) -> Iterator[dict[str, Any]]:
    number = 1
    try:
        with gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb") as file:
            for line in file:
                item = json.loads(line)
                if not isinstance(item, dict):
                    raise ValueError
                yield item
                number += 1
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: can't read it: {getattr(error, 'strerror', None) or error}") from None
    except ValueError:
        raise UserError(f"{path}: line {number}: not a JSON object") from None
