"""Error rates of a set and their details, all from one alignment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rnnt.errors import UserError
from rnnt.scoring.alignment import Alignment, Counts, align, split

GAP = "***"
OTHER = {"word": "char", "char": "word"}
NAMES = {"word": "%WER", "char": "%CER"}


def score(
    refs: Mapping[str, str], hyps: Mapping[str, str], unit: str = "word", speakers: Mapping[str, str] | None = None
) -> Report:
    """Align every utterance and return a `Report`.

    All words of an utterance without a hypothesis count as deleted; an empty reference has only insertions.

    Args:
        refs: {utterance id: text}.
        hyps: {utterance id: text}.
        unit: "word" or "char".
        speakers: {utterance id: speaker}, where known.

    Raises:
        UserError: when a hypothesis has no reference.
    """
    extra = [key for key in hyps if key not in refs]
    if extra:
        raise UserError(
            f"{len(extra)} hypotheses have no reference, the first is {extra[0]}; "
            "take the references of the set that was decoded"
        )
    alignments = align([split(text, unit) for text in refs.values()], [split(hyps.get(key, ""), unit) for key in refs])
    missing = tuple(key for key in refs if key not in hyps)
    return Report(unit, dict(refs), dict(hyps), dict(zip(refs, alignments)), missing, dict(speakers or {}))


def score_best(
    all_refs: Sequence[Mapping[str, str]],
    hyps: Mapping[str, str],
    unit: str = "word",
    speakers: Mapping[str, str] | None = None,
) -> Report:
    """As `score`, with several references: of each utterance that which leaves the fewest errors.

    Args:
        all_refs: {utterance id: text} each; the first has all utterances. Of equals the longer, then the first counts.
        hyps: {utterance id: text}.
        unit: "word" or "char".
        speakers: {utterance id: speaker}, where known.

    Raises:
        UserError: when a hypothesis, or one of the other references, has no reference in the first.
    """
    best = score(all_refs[0], hyps, unit, speakers)
    chosen, alignments = dict(best.refs), dict(best.alignments)
    for refs in all_refs[1:]:
        if extra := [key for key in refs if key not in chosen]:
            raise UserError(f"{len(extra)} other references are of no utterance of the first, such as {extra[0]}")
        other = score(refs, {key: text for key, text in hyps.items() if key in refs}, unit)
        for key, counts in other.counts_by_utterance.items():
            before = alignments[key].counts
            if (counts.errors, -counts.length) < (before.errors, -before.length):
                chosen[key], alignments[key] = other.refs[key], other.alignments[key]
    return replace(best, refs=chosen, alignments=alignments)


def subset(report: Report, keys: Sequence[str]) -> Report:
    """The report of some of the utterances."""
    wanted = set(keys)
    return Report(
        report.unit,
        {key: report.refs[key] for key in keys},
        {key: report.hyps[key] for key in keys if key in report.hyps},
        {key: report.alignments[key] for key in keys},
        tuple(key for key in report.missing if key in wanted),
        {key: report.speakers[key] for key in keys if key in report.speakers},
    )


@dataclass(frozen=True)
class Report:
    """The scored set, by utterance id; everything is in the order of the references."""

    unit: str  # "word" or "char"
    refs: dict[str, str]
    hyps: dict[str, str]
    alignments: dict[str, Alignment]
    missing: tuple[str, ...]  # ids without a hypothesis
    speakers: dict[str, str]  # where known

    @cached_property
    def counts_by_utterance(self) -> dict[str, Counts]:
        """{id: `Counts`}."""
        return {key: alignment.counts for key, alignment in self.alignments.items()}

    @cached_property
    def counts(self) -> Counts:
        """`Counts` of the set."""
        return _total(self.counts_by_utterance.values())

    @cached_property
    def other_counts(self) -> Counts:
        """`Counts` of the set in the other unit: characters if the report is of words, else words."""
        return score(self.refs, self.hyps, OTHER[self.unit]).counts

    @cached_property
    def wrong_sentences(self) -> int:
        """Number of utterances with an error."""
        return sum(counts.errors > 0 for counts in self.counts_by_utterance.values())

    @property
    def rate(self) -> float:
        """Error rate of the report's unit in percent."""
        return self.counts.rate

    @property
    def wer(self) -> float:
        """Word error rate in percent."""
        return (self.counts if self.unit == "word" else self.other_counts).rate

    @property
    def cer(self) -> float:
        """Character error rate in percent; the space between two words is a character."""
        return (self.counts if self.unit == "char" else self.other_counts).rate

    @property
    def ser(self) -> float:
        """Sentence error rate in percent."""
        return 100 * self.wrong_sentences / len(self.alignments) if self.alignments else 0.0

    def summary_lines(self) -> list[str]:
        """Kaldi's three lines; the first is there for words and for characters, the report's unit before the other."""
        return [
            *(
                f"{NAMES[unit]} {c.rate:.2f} [ {c.errors} / {c.length}, {c.insertions} ins, {c.deletions} del, "
                f"{c.substitutions} sub ]"
                for unit, c in ((self.unit, self.counts), (OTHER[self.unit], self.other_counts))
            ),
            f"%SER {self.ser:.2f} [ {self.wrong_sentences} / {len(self.alignments)} ]",
            f"Scored {len(self.alignments)} sentences, {len(self.missing)} not present in hyp.",
        ]

    def headline(self) -> str:
        """One line: the error rate of the unit with its counts, and that of the other unit."""
        return f"{self.summary_lines()[0]} {NAMES[OTHER[self.unit]]} {self.other_counts.rate:.2f}"

    def summary(self) -> dict[str, Any]:
        """The numbers, for JSON. Rates are in percent; counts are of the report's unit."""
        c = self.counts
        return {
            "unit": self.unit,
            "wer": round(self.wer, 4),
            "cer": round(self.cer, 4),
            "errors": c.errors,
            "words": c.length,
            "correct": c.correct,
            "substitutions": c.substitutions,
            "deletions": c.deletions,
            "insertions": c.insertions,
            "ser": round(self.ser, 4),
            "sentences": len(self.alignments),
            "wrong_sentences": self.wrong_sentences,
            "missing": len(self.missing),
        }

    def confusions(self) -> list[tuple[str, str, str, int]]:
        """[(letter, reference unit, hypothesis unit, count)] of all errors, the most frequent first."""
        counted = Counter(pair for a in self.alignments.values() for pair in a.pairs() if pair[0] != "C")
        rows = [(op, ref or GAP, hyp or GAP, count) for (op, ref, hyp), count in counted.items()]
        return sorted(rows, key=lambda row: (-row[3], row[:3]))

    def utterance_lines(self, key: str) -> list[str]:
        """Kaldi's four lines on one utterance: `id ref`, `id hyp`, `id op`, `id #csid`, columns padded."""
        columns = [(ref or GAP, hyp or GAP, op) for op, ref, hyp in self.alignments[key].pairs()]
        lines: list[list[str]] = [[], [], []]
        for column in columns:
            width = max(map(len, column))
            for line, cell in zip(lines, column):
                line.append(cell.ljust(width))
        c = self.counts_by_utterance[key]
        named = zip(("ref", "hyp", "op"), lines)
        return [f"{key} {name:<4} {' '.join(cells)}".rstrip() for name, cells in named] + [
            f"{key} #csid {c.correct} {c.substitutions} {c.insertions} {c.deletions}"
        ]

    def speaker_rows(self) -> list[tuple[str, int, int, Counts]]:
        """[(speaker, utterances, wrong utterances, `Counts`)], sorted by speaker; "-" where it isn't known."""
        groups: dict[str, list[Counts]] = {}
        for key, counts in self.counts_by_utterance.items():
            groups.setdefault(self.speakers.get(key, "-"), []).append(counts)
        return [(speaker, len(g), sum(c.errors > 0 for c in g), _total(g)) for speaker, g in sorted(groups.items())]

    def error_lines(self) -> Iterator[str]:
        """The lines of errors.txt: summary, speakers, confusions, and all utterances."""
        yield from self.summary_lines()
        if self.speakers:
            yield from ("", "By speaker: #SENT #WORD Corr Sub Del Ins Err(%) S.Err(%)")
            for speaker, sentences, wrong, c in self.speaker_rows():
                yield (
                    f"{speaker} {sentences} {c.length} {c.correct} {c.substitutions} {c.deletions} {c.insertions} "
                    f"{c.rate:.2f} {100 * wrong / sentences:.2f}"
                )
        yield from ("", "Confusions: op ref hyp count")
        yield from (f"{op} {ref} {hyp} {count}" for op, ref, hyp, count in self.confusions())
        yield from ("", "Utterances: ref, hyp, op and the numbers of correct, substituted, inserted and deleted")
        for key in self.alignments:
            yield from self.utterance_lines(key)


def _total(many: Iterable[Counts]) -> Counts:
    c = s = d = i = 0
    for counts in many:
        c, s, d, i = c + counts.correct, s + counts.substitutions, d + counts.deletions, i + counts.insertions
    return Counts(c, s, d, i)
