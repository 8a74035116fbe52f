"""Normalisation of texts before scoring: explicit steps by name, none by default."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

STEPS: dict[str, Callable[[str], str]] = {
    "nfkc": lambda text: unicodedata.normalize("NFKC", text),
    "lower": str.lower,
    "no-punctuation": lambda text: "".join(c for c in text if not _is_punctuation(c)),
    "hyphen-to-space": lambda text: text.replace("-", " "),
}


def _is_punctuation(character: str) -> bool:
    # The apostrophe belongs to words: don't, o'clock.
    return unicodedata.category(character).startswith("P") and character not in "'\u2019"


def normalize(text: str, steps: Iterable[str]) -> str:
    """Apply the named `steps` of `STEPS` in order; runs of white space become one space."""
    for step in steps:
        text = STEPS[step](text)
    return " ".join(text.split())
