"""Error rates of a set and their details, all from one alignment."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from rnnt.errors import UserError
from rnnt.scoring.alignment import Alignment, Counts, align, split

GAP = "***"
OTHER = {"word": "char", "char": "word"}
NAMES = {"word": "%WER", "char": "%CER"}


def score(refs, hyps, unit="word", speakers=None):
    """Align every utterance and return a `Report`.

    refs, hyps: {utterance id: text}; unit: "word" or "char"; speakers: {utterance id: speaker}, where known.
    An utterance without a hypothesis counts as all deleted; an empty reference has only insertions.
    Raises `UserError` when a hypothesis has no reference.
    """
    extra = [key for key in hyps if key not in refs]
    if extra:
        raise UserError(
            f"{len(extra)} hypotheses have no reference, the first is {extra[0]}; "
            "take the references of the set that was decoded"
        )
    alignments = align([split(text, unit) for text in refs.values()], [split(hyps.get(key, ""), unit) for key in refs])
    missing = tuple(key for key in refs if key not in hyps)
    return Report(unit, dict(refs), dict(hyps), dict(zip(refs, alignments)), missing, speakers or {})


@dataclass(frozen=True)
class Report:
    """The scored set: unit, {id: text} of both sides, {id: `Alignment`}, ids without hypothesis, {id: speaker}.

    The references' order is that of everything.
    """

    unit: str
    refs: dict[str, str]
    hyps: dict[str, str]
    alignments: dict[str, Alignment]
    missing: tuple[str, ...]
    speakers: dict[str, str]

    @cached_property
    def counts_by_utterance(self):
        """{id: `Counts`}."""
        return {key: alignment.counts for key, alignment in self.alignments.items()}

    @cached_property
    def counts(self):
        """`Counts` of the whole set."""
        return _total(self.counts_by_utterance.values())

    @cached_property
    def other_counts(self):
        """`Counts` of the whole set in the other unit: of characters beside words, of words beside characters."""
        return score(self.refs, self.hyps, OTHER[self.unit]).counts

    @cached_property
    def wrong_sentences(self):
        """Number of utterances with an error."""
        return sum(counts.errors > 0 for counts in self.counts_by_utterance.values())

    @property
    def rate(self):
        """Error rate of the report's unit in percent."""
        return self.counts.rate

    @property
    def wer(self):
        """Word error rate in percent."""
        return (self.counts if self.unit == "word" else self.other_counts).rate

    @property
    def cer(self):
        """Character error rate in percent; the space between two words is a character."""
        return (self.counts if self.unit == "char" else self.other_counts).rate

    @property
    def ser(self):
        """Sentence error rate in percent."""
        return 100 * self.wrong_sentences / len(self.alignments) if self.alignments else 0.0

    def summary_lines(self):
        """Kaldi's three lines, the first for words and for characters; that of the report's unit comes first."""
        return [
            *(
                f"{NAMES[unit]} {c.rate:.2f} [ {c.errors} / {c.length}, {c.insertions} ins, {c.deletions} del, "
                f"{c.substitutions} sub ]"
                for unit, c in ((self.unit, self.counts), (OTHER[self.unit], self.other_counts))
            ),
            f"%SER {self.ser:.2f} [ {self.wrong_sentences} / {len(self.alignments)} ]",
            f"Scored {len(self.alignments)} sentences, {len(self.missing)} not present in hyp.",
        ]

    def headline(self):
        """One line: the error rate of the unit with its counts, and that of the other unit."""
        return f"{self.summary_lines()[0]} {NAMES[OTHER[self.unit]]} {self.other_counts.rate:.2f}"

    def summary(self):
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

    def confusions(self):
        """[(letter, reference unit, hypothesis unit, count)] of all errors, the most frequent first."""
        counted = Counter(pair for a in self.alignments.values() for pair in a.pairs() if pair[0] != "C")
        rows = [(op, ref or GAP, hyp or GAP, count) for (op, ref, hyp), count in counted.items()]
        return sorted(rows, key=lambda row: (-row[3], row[:3]))

    def utterance_lines(self, key):
        """Kaldi's four lines on one utterance: `id ref`, `id hyp`, `id op`, `id #csid`, columns padded."""
        columns = [(ref or GAP, hyp or GAP, op) for op, ref, hyp in self.alignments[key].pairs()]
        lines = [[], [], []]
        for column in columns:
            width = max(map(len, column))
            for line, cell in zip(lines, column):
                line.append(cell.ljust(width))
        c = self.counts_by_utterance[key]
        named = zip(("ref", "hyp", "op"), lines)
        return [f"{key} {name:<4} {' '.join(cells)}".rstrip() for name, cells in named] + [
            f"{key} #csid {c.correct} {c.substitutions} {c.insertions} {c.deletions}"
        ]

    def speaker_rows(self):
        """[(speaker, utterances, wrong utterances, `Counts`)] in the speakers' order; "-" where it isn't known."""
        groups = {}
        for key, counts in self.counts_by_utterance.items():
            groups.setdefault(self.speakers.get(key, "-"), []).append(counts)
        return [(who, len(g), sum(c.errors > 0 for c in g), _total(g)) for who, g in sorted(groups.items())]

    def error_lines(self):
        """The lines of errors.txt: summary, speakers, confusions, and every utterance."""
        yield from self.summary_lines()
        if self.speakers:
            yield from ("", "By speaker: #SENT #WORD Corr Sub Del Ins Err(%) S.Err(%)")
            for who, sentences, wrong, c in self.speaker_rows():
                yield (
                    f"{who} {sentences} {c.length} {c.correct} {c.substitutions} {c.deletions} {c.insertions} "
                    f"{c.rate:.2f} {100 * wrong / sentences:.2f}"
                )
        yield from ("", "Confusions: op ref hyp count")
        yield from (f"{op} {ref} {hyp} {count}" for op, ref, hyp, count in self.confusions())
        yield from ("", "Utterances: ref, hyp, op and the numbers of correct, substituted, inserted and deleted")
        for key in self.alignments:
            yield from self.utterance_lines(key)


def _total(many):
    c = s = d = i = 0
    for counts in many:
        c, s, d, i = c + counts.correct, s + counts.substitutions, d + counts.deletions, i + counts.insertions
    return Counts(c, s, d, i)
