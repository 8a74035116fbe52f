"""Symbol delay: how long after a word was said its recognition came.

The words of a hypothesis and of a reference with times are aligned; of those that are equal the times are compared.
Source: the mean alignment delay of Kang et al. 2023, "Delay-penalized transducer for low-latency streaming ASR"
(https://arxiv.org/abs/2211.00490).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt.errors import UserError
from rnnt.scoring.alignment import align
from rnnt.scoring.results_dir import read_utterances


@dataclass(frozen=True)
class TimedWord:
    """A word with its start and end in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Delays:
    """Delays in seconds of the words that were recognised, positive where the hypothesis is late; at least one.

    Attributes:
        starts: of the starts of words.
        ends: of their ends.
        words: of the references, recognised or not.
    """

    starts: Sequence[float]
    ends: Sequence[float]
    words: int

    def lines(self) -> list[str]:
        """What score.py prints, in milliseconds."""
        lines = [f"{len(self.starts)} of {self.words} words compared; milliseconds, positive: late"]
        for name, values in (("start", self.starts), ("end", self.ends)):
            mean, middle = 1000 * statistics.mean(values), 1000 * statistics.median(values)
            size = 1000 * statistics.median(map(abs, values))
            late = 1000 * sorted(values)[math.ceil(0.9 * len(values)) - 1]
            lines.append(
                f"{name:<5}  mean {mean:.0f}  median {middle:.0f}  90 % {late:.0f}  median of sizes {size:.0f}"
            )
        return lines


def delays(refs: Mapping[str, Sequence[TimedWord]], hyps: Mapping[str, Sequence[TimedWord]]) -> Delays:
    """The delays of the utterances that both have.

    Raises:
        UserError: no word is common to both.
    """
    keys = [key for key in refs if key in hyps]
    pairs = [([w.word for w in refs[key]], [w.word for w in hyps[key]]) for key in keys]
    alignments = align([ref for ref, _ in pairs], [hyp for _, hyp in pairs]) if pairs else []
    starts, ends = [], []
    for key, alignment in zip(keys, alignments):
        for op, ref_first, ref_last, hyp_first, hyp_last in alignment.spans:
            if op == "equal":
                for ref, hyp in zip(refs[key][ref_first:ref_last], hyps[key][hyp_first:hyp_last]):
                    starts.append(hyp.start - ref.start)
                    ends.append(hyp.end - ref.end)
    if not starts:
        raise UserError("no word of the reference was recognised in the same utterance; are both of one set?")
    return Delays(starts, ends, sum(len(ref) for ref, _ in pairs))


def read_timed(path: str | Path) -> dict[str, list[TimedWord]]:
    """{utterance: words} of a CTM file, or of the folder of a decoded set.

    Raises:
        UserError: it can't be read, or naming the line that is wrong.
    """
    if Path(path).is_dir():
        return {
            utterance["id"]: [TimedWord(w["word"], w["start"], w["end"]) for w in utterance["words"]]
            for utterance in read_utterances(path)
        }
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: can't read it: {problem}") from None
    found: dict[str, list[TimedWord]] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        try:
            key, _, start, seconds, word, *_ = fields
            begin, lasts = float(start), float(seconds)
        except ValueError:
            begin = lasts = math.nan
        if not (math.isfinite(begin) and math.isfinite(lasts)):
            raise UserError(f"{path}: line {number}: expected `utterance channel start duration word` of CTM")
        found.setdefault(key, []).append(TimedWord(word, begin, begin + lasts))
    return {key: sorted(words, key=lambda word: word.start) for key, words in found.items()}
