"""One value of an option: its type, the numbers that it may be, and the one place that checks both.

Command line, configuration files and stored configurations all pass through `convert`. Loads no heavy package.
"""

import math
import reprlib
import typing
from dataclasses import Field, dataclass
from typing import Any

_INT64 = 1 << 63
# Values of a file may be nested without end: what is shown of them is short.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes; None: no bound. What is not finite is in no range."""

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.minimum is None or number >= self.minimum)
            and (self.above is None or number > self.above)
            and (self.maximum is None or number <= self.maximum)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        """`from 0 to 1`, `at least 0 and below 1`, or empty."""
        if self.minimum is not None and self.maximum is not None:
            return f"from {self.minimum} to {self.maximum}"
        bounds = [("at least", self.minimum), ("above", self.above), ("at most", self.maximum), ("below", self.below)]
        return " and ".join(f"{words} {bound}" for words, bound in bounds if bound is not None)


class Text(str):
    """A word of the command line, where all values are texts; in a file a text is not a number."""


def value_type(annotation: Any) -> tuple[type, bool]:
    """The scalar type of an annotation and whether it is a list: `int | None` -> int, `list[str]` -> str."""
    if typing.get_origin(annotation) is list:
        return typing.get_args(annotation)[0], True
    scalars = [a for a in typing.get_args(annotation) if a is not type(None)]
    return (scalars[0] if scalars else annotation), False


def str_to_bool(text: str | bool) -> bool:
    """`true`, `yes`, `on`, `1` and their opposites, as icefall's options accept them."""
    if isinstance(text, bool):
        return text
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1", "t", "y"):
        return True
    if lowered in ("false", "no", "off", "0", "f", "n"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def convert(f: Field, value: Any) -> Any:
    """A value from the command line (`Text`) or from a file, as the type of its field.

    Raises:
        ValueError: the value has another type, is none of the choices, is out of range or not finite.
    """
    scalar, is_list = value_type(f.type)
    if not is_list and isinstance(value, list):
        raise ValueError(f"expected one value, got {shown(value)}")
    if value is None and f.default is None:
        return None
    items = value if isinstance(value, list) else [value]
    if is_list:
        # Shell scripts pass a list as one quoted word. icefall separates numbers by commas; a path may hold one.
        items = [word for item in items for word in (_split(item, scalar) if isinstance(item, str) else [item])]
    converted = [_check(f, _convert_one(scalar, item)) for item in items]
    if is_list and not converted and f.metadata.get("nonempty"):
        raise ValueError("needs at least one value")
    return converted if is_list else converted[0]


def shown(value: Any) -> str:
    """A value as messages show it: short, whatever it holds."""
    return _SHORT.repr(value)


def _split(text: str, scalar: type) -> list[str]:
    words = (text if scalar is str else text.replace(",", " ")).split()
    return [type(text)(word) for word in words]


def _convert_one(scalar: type, item: Any) -> Any:
    if isinstance(item, scalar) and not (scalar is int and isinstance(item, bool)):
        return str(item) if scalar is str else item
    is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
    try:
        if scalar is str and is_number:
            return str(item)
        if scalar is float and (is_number or isinstance(item, str)):
            return float(item)
        if isinstance(item, Text):
            return str_to_bool(item) if scalar is bool else scalar(item)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"expected {scalar.__name__}, got {shown(item)}")


def _check(f: Field, item: Any) -> Any:
    choices, numbers = f.metadata.get("choices"), f.metadata.get("range", Range())
    if choices and item not in choices:
        raise ValueError(f"{shown(item)} is not one of {', '.join(map(str, choices))}")
    if isinstance(item, str) and ("\0" in item or not _is_utf8(item)):
        raise ValueError(f"{item!r:.80} holds a NUL character, or bytes that are not UTF-8")
    if isinstance(item, float) and not math.isfinite(item):
        raise ValueError(f"must be a finite number, not {item}")
    if isinstance(item, int) and not -_INT64 <= item < _INT64:
        raise ValueError("must fit into 64 bits")
    if isinstance(item, (int, float)) and not isinstance(item, bool) and item not in numbers:
        raise ValueError(f"must be {numbers}, not {item}")
    return item


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
