"""Spelling variants that count as equal: a file of replacements in NIST's GLM form.

    ;; a comment
    * case_sensitive = 'F'
    colour => color
    [gonna] => [going to] / [ ] __ [ ]

A rule is a line: words, `=>`, the words that replace them, or nothing; brackets may be left out. Rules
with a context, and with alternatives in `{ / }`, are refused. At each word of a text the longest rule that fits is
applied; what it gives is not looked at again. The other lines that begin with `*` are about the file and mean nothing
here. Source: the format of csrfilt in NIST's SCTK (https://github.com/usnistgov/SCTK).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rnnt.errors import UserError

CONTEXT = re.compile(r"\s/\s(.*__.*)$")
EMPTY_CONTEXT = re.compile(r"(\[\s*\])?\s*__\s*(\[\s*\])?")
CASE = re.compile(r"\*\s*case_sensitive\s*=\s*'([TF])'")


@dataclass(frozen=True)
class Glm:
    """The rules of a file: {words: words that replace them}; with `fold`, case does not matter where they are found."""

    rules: dict[tuple[str, ...], tuple[str, ...]]
    fold: bool = False

    def apply(self, text: str) -> str:
        """The text with its variants replaced, words separated by single spaces."""
        words = text.split()
        keys = [word.casefold() for word in words] if self.fold else words
        longest = max(map(len, self.rules), default=0)
        found: list[str] = []
        place = 0
        while place < len(words):
            for size in range(min(longest, len(words) - place), 0, -1):
                if (new := self.rules.get(tuple(keys[place : place + size]))) is not None:
                    found += new
                    place += size
                    break
            else:
                found.append(words[place])
                place += 1
        return " ".join(found)


def read_glm(path: str | Path) -> Glm:
    """Read a file.

    Raises:
        UserError: it can't be read, or naming the line that is no rule.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: can't read it: {problem}") from None
    fold = any(match.group(1) == "F" for line in lines if (match := CASE.match(line)))
    rules: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        line = line.partition(";;")[0].strip()
        if line and not line.startswith("*"):
            try:
                old, new = _rule(line)
            except ValueError as error:
                raise UserError(f"{path}: line {number}: {error}") from None
            rules[tuple(word.casefold() for word in old) if fold else old] = new
    return Glm(rules, fold)


def _rule(line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a rule and what replaces them; ValueError says what is wrong with it."""
    if "{" in line:
        raise ValueError("alternatives in {} are not supported; give them as --other-refs, or choose one")
    context = CONTEXT.search(line)
    if context and not EMPTY_CONTEXT.fullmatch(context.group(1).strip()):
        raise ValueError("rules with a context are not supported; write the words around it into the rule")
    rule = line[: context.start()] if context else line
    old, arrow, new = rule.partition("=>")
    words = tuple(_unbracketed(old).split())
    if not arrow or not words:
        raise ValueError("expected `words => words`")
    return words, tuple(_unbracketed(new).split())


def _unbracketed(side: str) -> str:
    side = side.strip()
    return side[1:-1] if side.startswith("[") and side.endswith("]") else side
