"""One HTML page about a decoded set, without network: of other files it only plays the audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.files import atomic_write
from rnnt.pages.document import document
from rnnt.pages.listening import LEGEND, Entry, filters
from rnnt.pages.listening import STYLE as LISTENING_STYLE
from rnnt.scoring.alignment import Counts

if TYPE_CHECKING:
    from rnnt.scoring.report import Report

STYLE = """
.track { width: 22em; max-width: 50vw; background: var(--track) } .bar { height: 1em; background: var(--bar) }
"""
KINDS = {"S": "substitutions", "D": "deletions", "I": "insertions"}
WORST = 500
CONFUSIONS = 30
DURATION_CLASSES = 6


def write_page(
    path: str | Path, report: Report, utterances: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], title: str
) -> None:
    """Write the page of a `Report`.

    Args:
        path: of the page.
        report: of the set.
        utterances: the objects of utterances.jsonl.
        summary: the object of summary.json.
        title: of the page.
    """
    about = {utterance["id"]: utterance for utterance in utterances}
    shown = worst(report)
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<p>" + "<br>".join(escape(line) for line in report.summary_lines()) + "</p>",
        _facts(summary),
        _bars("By duration", "seconds", by_duration(report, about)),
        _bars("By speaker", "speaker", _by_speaker(report)) if report.speakers else "",
        _confusions(report),
        "<h2>Utterances with most errors</h2>",
        LEGEND.format(rows="first the reference, then the hypothesis"),
        filters((report.speakers[key] for key in shown if key in report.speakers), KINDS) if shown else "",
        *(_entry(report, key, about.get(key, {})).html(Path(path).parent) for key in shown),
    ]
    with atomic_write(path) as file:
        file.write(document(title, parts, STYLE + LISTENING_STYLE))


def worst(report: Report, most: int = WORST) -> list[str]:
    """Ids of the utterances with the most errors; of equals the one with the shorter reference comes first."""
    counts = report.counts_by_utterance
    wrong = [key for key in counts if counts[key].errors]
    return sorted(wrong, key=lambda key: (-counts[key].errors, counts[key].length, key))[:most]


def by_duration(report: Report, about: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int, Counts]]:
    """[(range of seconds, utterances, `Counts`)]: classes of equally many utterances, short ones first.

    Args:
        report: of the set.
        about: {utterance id: object of utterances.jsonl}.
    """
    known = [key for key in report.alignments if "seconds" in about.get(key, {})]
    known.sort(key=lambda key: about[key]["seconds"])
    rows = []
    for keys in np.array_split(np.array(known, dtype=object), min(DURATION_CLASSES, max(len(known), 1))):
        if len(keys):
            low, high = about[keys[0]]["seconds"], about[keys[-1]]["seconds"]
            total = sum((report.counts_by_utterance[key] for key in keys), Counts())
            rows.append((f"{low:.1f} - {high:.1f}", len(keys), total))
    return rows


def _by_speaker(report: Report) -> list[tuple[str, int, Counts]]:
    return [(speaker, sentences, counts) for speaker, sentences, _, counts in report.speaker_rows()]


def _facts(summary: Mapping[str, Any]) -> str:
    drawn = f"{summary['groups']} {summary['drawn']}"
    shown = {
        "95 % interval": f"{summary['wer_low']:.2f} - {summary['wer_high']:.2f} % ({drawn})",
        "model": summary.get("checkpoint"),
        "audio": f"{summary['audio_seconds'] / 3600:.3f} h" if "audio_seconds" in summary else None,
        "real-time factor": summary.get("rtf"),
        "not scored": ", ".join(f"{reason} {count}" for reason, count in summary.get("left_out", {}).items()),
        "search": ", ".join(f"{k} {v}" for k, v in summary.get("search", {}).items()),
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in shown.items() if v)
    return f"<table>{rows}</table>"


def _bars(heading: str, name: str, rows: Sequence[tuple[str, int, Counts]]) -> str:
    if not rows:
        return ""
    most = max(max(counts.rate for *_, counts in rows), 1e-9)
    lines = [
        f"<tr><td>{escape(label)}</td><td class=n>{sentences}</td><td class=n>{counts.length}</td>"
        f"<td class=n>{counts.rate:.2f}</td>"
        f'<td class="track"><div class="bar" style="width:{100 * counts.rate / most:.1f}%"></div></td></tr>'
        for label, sentences, counts in rows
    ]
    head = f"<tr><th>{name}</th><th class=n>utterances</th><th class=n>words</th><th class=n>error %</th><th></th></tr>"
    return f"<h2>{heading}</h2><table>{head}{''.join(lines)}</table>"


def _confusions(report: Report) -> str:
    rows = report.confusions()[:CONFUSIONS]
    if not rows:
        return ""
    lines = "".join(
        f'<tr><td class="{op}">{op}</td><td>{escape(ref)}</td><td>{escape(hyp)}</td><td class=n>{count}</td></tr>'
        for op, ref, hyp, count in rows
    )
    head = "<tr><th></th><th>reference</th><th>hypothesis</th><th class=n>times</th></tr>"
    return f"<h2>Most frequent errors</h2><table>{head}{lines}</table>"


def _entry(report: Report, key: str, about: Mapping[str, Any]) -> Entry:
    pairs = list(report.alignments[key].pairs())
    counts = report.counts_by_utterance[key]
    kinds = [op for op in KINDS if any(pair[0] == op for pair in pairs)]
    rows = [("", [(pair[0], pair[side]) for pair in pairs]) for side in (1, 2)]
    return Entry(key, about, [f"{counts.errors} of {counts.length}"], kinds, rows)
