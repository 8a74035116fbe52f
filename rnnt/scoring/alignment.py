"""Alignment of references and hypotheses by the fewest edits (jiwer, which uses rapidfuzz)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

UNITS = ("word", "char")
SPACE = "<space>"


@dataclass(frozen=True)
class Counts:
    """What an alignment holds: correct units, substitutions, deletions, insertions."""

    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Units of the reference."""
        return self.correct + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors in percent of the reference's units. Without any: 0 without errors, else 100."""
        if self.length == 0:
            return 100.0 if self.errors else 0.0
        return 100 * self.errors / self.length

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True)
class Alignment:
    """One utterance: its units and the spans (op, ref start, ref end, hyp start, hyp end) that cover them.

    op is `equal`, `substitute`, `delete` or `insert`.
    """

    ref: list[str]
    hyp: list[str]
    spans: list[tuple[str, int, int, int, int]]

    @property
    def counts(self) -> Counts:
        """The `Counts` of the utterance."""
        sizes: Counter[str] = Counter()
        for op, ref_start, ref_end, hyp_start, hyp_end in self.spans:
            sizes[op] += max(ref_end - ref_start, hyp_end - hyp_start)
        return Counts(sizes["equal"], sizes["substitute"], sizes["delete"], sizes["insert"])

    def pairs(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield (letter, reference unit or None, hypothesis unit or None); letters are C, S, D, I."""
        for op, ref_start, ref_end, hyp_start, hyp_end in self.spans:
            if op == "delete":
                yield from (("D", word, None) for word in self.ref[ref_start:ref_end])
            elif op == "insert":
                yield from (("I", None, word) for word in self.hyp[hyp_start:hyp_end])
            else:
                letter = "C" if op == "equal" else "S"
                yield from ((letter, r, h) for r, h in zip(self.ref[ref_start:ref_end], self.hyp[hyp_start:hyp_end]))


def split(text: str, unit: str) -> list[str]:
    """The words of `text`, or its characters, where a space between words is the character `<space>`."""
    words = text.split()
    if unit == "word":
        return words
    if unit == "char":
        return [SPACE if c == " " else c for c in " ".join(words)]
    raise ValueError(f"unit must be word or char, not {unit!r}")


def align(refs: list[list[str]], hyps: list[list[str]]) -> list[Alignment]:
    """Align lists of units pairwise, one `Alignment` per pair."""
    import jiwer

    # Its annotations know only texts; lists of units pass through a transform that leaves them as they are.
    process_words: Any = jiwer.process_words
    output = process_words(refs, hyps, reference_transform=list, hypothesis_transform=list)
    return [
        Alignment(ref, hyp, [(c.type, c.ref_start_idx, c.ref_end_idx, c.hyp_start_idx, c.hyp_end_idx) for c in chunks])
        for ref, hyp, chunks in zip(refs, hyps, output.alignments)
    ]
