"""The page itself: plain HTML and SVG, with players of audio that it does not contain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from rnnt.errors import counted
from rnnt.pages.document import document, table
from rnnt.pages.listening import STYLE, player
from rnnt.pages.svg import Point, line_plot
from rnnt.prepare.corpus_page.measures import CLIPPED, LOUDNESS, OF_ALL, OF_AUDIO, Example, SetMeasures, Shared
from rnnt.prepare.corpus_statistics import UNKNOWN_SPEAKER, SetStatistics
from rnnt.prepare.validation import Report

BINS = 40
SHOWN_SPEAKERS = 10
SHOWN_CHARACTERS = 200
MUCH_CLIPPED = 0.1  # percent of samples: from here on one hears it
QUIET = -45.0  # dB of full scale


@dataclass(frozen=True)
class Corpus:
    """What the page is made of; everything by set, those of `statistics` in order."""

    train_set: str
    statistics: Mapping[str, SetStatistics]
    measures: Mapping[str, SetMeasures]
    reports: Mapping[str, Report]
    shared: Mapping[str, Shared]


def page(corpus: Corpus, title: str, folder: Path) -> str:
    """The HTML; `folder` is where it will be, from which its players find the audio."""
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in findings(corpus))
    parts = [
        f"<h1>{escape(title)}</h1>",
        _sets(corpus),
        f'<h2>Worth a look</h2><ul id="findings">{remarks}</ul>' if remarks else "",
        '<h2>Utterances</h2><p class="weak">Percent of the utterances of each set.</p>',
        f'<div class="plots">{"".join(_plots(corpus.measures, OF_ALL))}</div>',
        _sound(corpus),
        _speakers(corpus),
        _characters(corpus),
        _left_out(corpus.reports),
        _shared(corpus.shared, corpus.train_set),
        _outliers(corpus.measures, folder),
    ]
    return document(title, parts, STYLE + ".utterance { min-width: 12em } details { margin: .3em 0 }")


def findings(corpus: Corpus) -> Iterator[str]:
    """What a look at the numbers would find, one sentence each."""
    train = corpus.statistics[corpus.train_set]
    for name, report in corpus.reports.items():
        if report.faults:
            yield f"{name}: {counted(report.total - report.kept, 'utterance')} of {report.total} left out, see below."
    for name, statistics in corpus.statistics.items():
        if name not in corpus.shared:
            continue
        speakers = (statistics.speakers.keys() & train.speakers.keys()) - {UNKNOWN_SPEAKER}
        if speakers:
            yield f"{name}: {counted(len(speakers), 'speaker')} also in {corpus.train_set}."
        if corpus.shared[name].count:
            yield (
                f"{name}: {counted(corpus.shared[name].count, 'utterance')} of {len(statistics)} with a text that "
                f"{corpus.train_set} has too."
            )
        unseen = sorted(statistics.characters.keys() - train.characters.keys())
        if unseen:
            yield f"{name}: characters that {corpus.train_set} does not have: {' '.join(unseen)[:200]}"
    for name, measures in corpus.measures.items():
        clipped, loudness = np.asarray(measures.values[CLIPPED]), np.asarray(measures.values[LOUDNESS])
        if (many := int(np.sum(clipped >= MUCH_CLIPPED))) > 0.01 * len(clipped):
            yield (
                f"{name}: {many} of {len(clipped)} recordings that were measured are clipped "
                f"({MUCH_CLIPPED} % of their samples or more at full scale)."
            )
        if len(loudness) and np.median(loudness) < QUIET:
            yield f"{name}: quiet, half of it below {np.median(loudness):.0f} dB of full scale."
        if measures.unreadable:
            yield f"{name}: of the utterances that were drawn, {measures.unreadable} have no readable audio."


def histogram(values: np.ndarray, low: float, high: float) -> list[Point]:
    """The outline of a histogram, in percent; values outside of low to high are in its first or last bar."""
    counts, edges = np.histogram(np.clip(values, low, high), bins=BINS, range=(low, high))
    heights = 100 * counts / max(len(values), 1)
    steps = [(x, height) for i, height in enumerate(heights.tolist()) for x in edges[i : i + 2].tolist()]
    return [(edges[0].item(), 0.0), *steps, (edges[-1].item(), 0.0)]


def _plots(measures: Mapping[str, SetMeasures], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        values = {s: np.asarray(m.values[name], dtype=float) for s, m in measures.items() if len(m.values[name])}
        if values:
            # A single outlier would press all others into one bar.
            low = min(np.percentile(v, 0.1) for v in values.values())
            high = max(np.percentile(v, 99.9) for v in values.values())
            high = high if high > low else low + 1
            lines = {s: histogram(v, low, high) for s, v in values.items()}
            yield f"<section><h2>{escape(name)}</h2>{line_plot(lines, name)}</section>"


def _sets(corpus: Corpus) -> str:
    names = ("set", "utterances", "hours", "speakers", "characters", "tokens", "left out")
    return table(
        names,
        [
            (
                escape(name), len(s), f"{s.hours:.2f}", len(s.speakers.keys() - {UNKNOWN_SPEAKER}),
                len(s.characters), sum(s.tokens), corpus.reports[name].total - corpus.reports[name].kept,
            )
            for name, s in corpus.statistics.items()
        ],
    )  # fmt: skip


def _sound(corpus: Corpus) -> str:
    plots = "".join(_plots(corpus.measures, OF_AUDIO))
    if not plots:
        return ""
    sizes = ", ".join(f"{name} {len(m.values[LOUDNESS])} of {len(m.texts)}" for name, m in corpus.measures.items())
    return (
        f'<h2>Sound</h2><p class="weak">Of utterances drawn at random: {escape(sizes)}. Loudness is the root mean '
        "square; a sample is clipped at full scale; silence is 40 dB or more below the loudest 20 ms.</p>"
        f'<div class="plots">{plots}</div>'
    )


def _speakers(corpus: Corpus) -> str:
    known = {name: s for name, s in corpus.statistics.items() if s.speakers.keys() - {UNKNOWN_SPEAKER}}
    if not known:
        return '<h2>Speakers</h2><p class="weak">Not known.</p>'
    lines = {name: [(float(i), hours) for i, hours in enumerate(s.speaker_hours(), 1)] for name, s in known.items()}
    rows = []
    for name, statistics in known.items():
        most = sorted(statistics.speakers.items(), key=lambda item: -item[1][1])[:SHOWN_SPEAKERS]
        rows += [(escape(name), escape(who), n, f"{seconds / 3600:.3f}") for who, (n, seconds) in most]
    return (
        f'<h2>Speakers</h2><div class="plots"><section><h2>hours of each, the largest first</h2>'
        f"{line_plot(lines, 'speaker')}</section></div>"
        f"<details><summary>Those with most</summary>{table(('set', 'speaker', 'utterances', 'hours'), rows)}</details>"
    )


def _characters(corpus: Corpus) -> str:
    counts = corpus.statistics[corpus.train_set].characters
    shown = ", ".join(f"{escape(c)}&nbsp;{n}" for c, n in counts.most_common(SHOWN_CHARACTERS))
    more = f", and {len(counts) - SHOWN_CHARACTERS} more" if len(counts) > SHOWN_CHARACTERS else ""
    return f"<h2>Characters of {escape(corpus.train_set)}</h2><p>{shown}{more}</p>"


def _left_out(reports: Mapping[str, Report]) -> str:
    rows = []
    for name, report in reports.items():
        for entries, what in ((report.faults, ""), (report.remarks, "kept: ")):
            for reason, entry in entries.items():
                examples = "<br>".join(f"{escape(e['id'])}: {escape(e['problem'])}" for e in entry["examples"])
                rows.append((escape(name), escape(what + reason), entry["count"], examples))
    found = table(("set", "reason", "utterances", "the first"), rows)
    return "<h2>Left out, and remarkable</h2>" + (found or '<p class="weak">Nothing.</p>')


def _shared(shared: Mapping[str, Shared], train_set: str) -> str:
    rows = [(escape(n), s.count, "<br>".join(map(escape, s.longest))) for n, s in shared.items() if s.count]
    found = table(("set", "utterances", "the longest"), rows)
    return f"<h2>Texts that {escape(train_set)} has too</h2>" + (found or '<p class="weak">None.</p>')


def _outliers(measures: Mapping[str, SetMeasures], folder: Path) -> str:
    """Tables of the utterances at both ends of each measure; of clipping only those that have any."""
    parts = ["<h2>To listen to: the lowest and the highest</h2>"]
    for name in (*OF_ALL, *OF_AUDIO):
        rows = []
        for set_name, found in measures.items():
            ends = found.extremes[name].lowest(), found.extremes[name].highest()
            if name == CLIPPED:
                ends = ([], [(value, example) for value, example in ends[1] if value > 0])
            shown = {example.id: (value, example) for end in ends for value, example in end}
            rows += [
                (escape(set_name), f"{value:.3g}", _player(example, folder), _text(example))
                for value, example in shown.values()
            ]
        if rows:
            heads = ("set", name, "", "utterance")
            parts.append(f"<details><summary>{escape(name)}</summary>{table(heads, rows)}</details>")
    return "".join(parts)


def _text(example: Example) -> str:
    return f'<div class="utterance">{escape(example.text)}<br><span class="weak">{escape(example.id)}</span></div>'


def _player(example: Example, folder: Path) -> str:
    return player(example.files, folder, (example.start, example.start + example.seconds))
