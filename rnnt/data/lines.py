"""The lines of a manifest: strict JSON, and lhotse's cuts, recordings and supervisions with values of the right types.

lhotse itself takes any value for any key, and fails where it is used, far from the line.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

# What a value should be, and whether it is.
Kind = tuple[str, Callable[[Any], bool]]


def parse_line(line: bytes | str) -> Any:
    """The JSON value of a line; ValueError also on NaN, on half a surrogate pair and on nesting without end."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        if "\\ud" in text.lower():  # the only way to write half a pair
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half a surrogate pair, which is no character") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _is_int(value: Any, lowest: int) -> bool:
    return type(value) is int and lowest <= value < 1 << 63


def _is_number(value: Any, lowest: float = -math.inf) -> bool:
    return type(value) in (int, float) and lowest <= value < math.inf and abs(value) < 1e12


def _is_channels(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_int(channel, 0) for channel in value)


NAME: Kind = ("a text that is not empty", lambda value: isinstance(value, str) and value != "" and "\0" not in value)
TEXT: Kind = ("a text", lambda value: isinstance(value, str) and "\0" not in value)
COUNT: Kind = ("a whole number above 0", lambda value: _is_int(value, 1))
SECONDS: Kind = ("a number", _is_number)
DURATION: Kind = ("a number above 0", lambda value: _is_number(value, 0) and value > 0)
CHANNELS: Kind = ("a list of channels", _is_channels)
CHANNEL: Kind = ("a channel", lambda value: _is_int(value, 0) or _is_channels(value))
LIST: Kind = ("a list", lambda value: isinstance(value, list))
OBJECT: Kind = ("an object", lambda value: isinstance(value, dict))
KEY: Kind = ("a key", lambda value: TEXT[1](value) or _is_int(value, 0))

SOURCE = {"type": NAME, "channels": CHANNELS, "source": NAME}
RECORDING = {"id": NAME, "sources": LIST, "sampling_rate": COUNT, "num_samples": COUNT, "duration": DURATION}
SUPERVISION = {"id": NAME, "recording_id": NAME, "start": SECONDS, "duration": DURATION}
SUPERVISION_MAYBE = {"channel": CHANNEL, "text": TEXT, "speaker": TEXT, "language": TEXT, "gender": TEXT}
FEATURES = {
    "storage_type": NAME, "storage_path": NAME, "storage_key": KEY, "num_frames": COUNT, "num_features": COUNT,
    "frame_shift": DURATION, "sampling_rate": COUNT, "start": SECONDS, "duration": DURATION,
}  # fmt: skip
CUT = {"id": NAME, "start": SECONDS, "duration": DURATION, "channel": CHANNEL}
TRACKS = {"id": NAME, "tracks": LIST}
PADDING = {"id": NAME, "duration": DURATION}
CUT_MAYBE = {"supervisions": LIST, "recording": OBJECT, "features": OBJECT}


def check_item(item: Any) -> dict[str, Any]:
    """A cut, recording or supervision as it is, if every value that is needed has the right type; else ValueError."""
    if not isinstance(item, dict):
        raise ValueError(f"expected an object, got {_shown(item)}")
    if isinstance(item.get("type"), str) and item["type"].endswith("Cut"):
        _check_cut(item, "")
    elif "sources" in item:
        _check_recording(item, "")
    elif "recording_id" in item:
        _check_supervision(item, "")
    else:
        raise ValueError("it is neither a cut nor a recording nor a supervision of lhotse")
    return item


def _check_cut(cut: dict[str, Any], place: str) -> None:
    if cut["type"] == "PaddingCut":
        _check(cut, PADDING, {}, place)
        return
    if "tracks" in cut:
        _check(cut, TRACKS, {}, place)
        for number, track in enumerate(cut["tracks"]):
            inner = track.get("cut") if isinstance(track, dict) else None
            if not isinstance(inner, dict) or inner.get("type") not in ("MonoCut", "MultiCut", "PaddingCut"):
                raise ValueError(f"{place}tracks.{number}: expected a track with a cut, got {_shown(track)}")
            _check_cut(inner, f"{place}tracks.{number}.cut.")
        return
    _check(cut, CUT, CUT_MAYBE, place)
    for number, supervision in enumerate(cut.get("supervisions") or ()):
        _check_supervision(supervision, f"{place}supervisions.{number}.")
    if cut.get("recording") is not None:
        _check_recording(cut["recording"], f"{place}recording.")
    if cut.get("features") is not None:
        _check(cut["features"], FEATURES, {}, f"{place}features.")


def _check_recording(recording: Any, place: str) -> None:
    _check(recording, RECORDING, {"channel_ids": CHANNELS}, place)
    if not recording["sources"]:
        raise ValueError(f"{place}sources: expected at least one, got none")
    for number, source in enumerate(recording["sources"]):
        _check(source, SOURCE, {}, f"{place}sources.{number}.")


def _check_supervision(supervision: Any, place: str) -> None:
    _check(supervision, SUPERVISION, SUPERVISION_MAYBE, place)


def _check(item: Any, needed: Mapping[str, Kind], perhaps: Mapping[str, Kind], place: str) -> None:
    if not isinstance(item, dict):
        raise ValueError(f"{place.removesuffix('.')}: expected an object, got {_shown(item)}")
    for name, (what, fits) in needed.items():
        if name not in item:
            raise ValueError(f"{place}{name} is missing")
        if not fits(item[name]):
            raise ValueError(f"{place}{name}: expected {what}, got {_shown(item[name])}")
    for name, (what, fits) in perhaps.items():
        if item.get(name) is not None and not fits(item[name]):
            raise ValueError(f"{place}{name}: expected {what}, got {_shown(item[name])}")


def _shown(value: Any) -> str:
    return reprlib.repr(value)
