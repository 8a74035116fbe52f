"""One self-contained HTML page about a decoded set: no script, no file besides it."""

from html import escape

import numpy as np

from rnnt.files import atomic_write
from rnnt.scoring.alignment import Counts

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; margin-top: 2em; }
table { border-collapse: collapse; } td, th { padding: .15em .8em .15em 0; text-align: left; vertical-align: top; }
th { white-space: nowrap; } .words { margin-top: .2em; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.track { width: 22em; background: #eee; } .bar { height: 1em; background: #4a7ab5; }
.words td { font-family: ui-monospace, monospace; padding-right: .6em; }
.S { background: #ffe08a; } .D { background: #f7b2ad; } .I { background: #b9dcf5; }
.utt { margin: 1.2em 0; border-top: 1px solid #ddd; padding-top: .6em; overflow-x: auto; }
.note { color: #666; font-size: .9em; overflow-wrap: anywhere; }
"""
WORST = 50
CONFUSIONS = 30
DURATION_CLASSES = 6


def write_page(path, report, utterances, summary, title):
    """Write the page of a `Report`.

    utterances: the objects of utterances.jsonl; summary: that of summary.json; title: of the page.
    """
    about = {utterance["id"]: utterance for utterance in utterances}
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<p>" + "<br>".join(escape(line) for line in report.summary_lines()) + "</p>",
        _facts(summary),
        _bars("By duration", "seconds", by_duration(report, about)),
        _bars("By speaker", "speaker", _by_speaker(report)) if report.speakers else "",
        _confusions(report),
        "<h2>Utterances with most errors</h2>",
        '<p class="note"><span class="S">substituted</span> <span class="D">deleted</span> '
        '<span class="I">inserted</span>; first the reference, then the hypothesis</p>',
        *(_utterance(report, key, about.get(key, {})) for key in worst(report)),
    ]
    with atomic_write(path) as file:
        file.write(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        )
        file.write("\n".join(part for part in parts if part))
        file.write("\n</body></html>\n")


def worst(report, most=WORST):
    """Ids of the utterances with most errors, the shorter reference first among equals."""
    counts = report.counts_by_utterance
    wrong = [key for key in counts if counts[key].errors]
    return sorted(wrong, key=lambda key: (-counts[key].errors, counts[key].length, key))[:most]


def by_duration(report, about):
    """[(range of seconds, utterances, `Counts`)]: classes with equally many utterances, short ones first."""
    known = [key for key in report.alignments if "seconds" in about.get(key, {})]
    known.sort(key=lambda key: about[key]["seconds"])
    rows = []
    for keys in np.array_split(np.array(known, dtype=object), min(DURATION_CLASSES, max(len(known), 1))):
        if len(keys):
            low, high = about[keys[0]]["seconds"], about[keys[-1]]["seconds"]
            total = sum((report.counts_by_utterance[key] for key in keys), Counts())
            rows.append((f"{low:.1f} - {high:.1f}", len(keys), total))
    return rows


def _by_speaker(report):
    return [(who, sentences, counts) for who, sentences, _, counts in report.speaker_rows()]


def _facts(summary):
    drawn = f"{summary['groups']} {summary['drawn']}"
    shown = {
        "95 % interval": f"{summary['wer_low']:.2f} - {summary['wer_high']:.2f} % ({drawn})",
        "model": summary.get("checkpoint"),
        "audio": f"{summary['audio_seconds'] / 3600:.3f} h" if "audio_seconds" in summary else None,
        "real-time factor": summary.get("rtf"),
        "search": ", ".join(f"{k} {v}" for k, v in summary.get("search", {}).items()),
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in shown.items() if v)
    return f"<table>{rows}</table>"


def _bars(heading, name, rows):
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


def _confusions(report):
    rows = report.confusions()[:CONFUSIONS]
    if not rows:
        return ""
    lines = "".join(
        f'<tr><td class="{op}">{op}</td><td>{escape(ref)}</td><td>{escape(hyp)}</td><td class=n>{count}</td></tr>'
        for op, ref, hyp, count in rows
    )
    head = "<tr><th></th><th>reference</th><th>hypothesis</th><th class=n>times</th></tr>"
    return f"<h2>Most frequent errors</h2><table>{head}{lines}</table>"


def _utterance(report, key, about):
    pairs = list(report.alignments[key].pairs())
    lines = [
        "<tr>" + "".join(f'<td class="{pair[0]}">{escape(pair[side] or "")}</td>' for pair in pairs) + "</tr>"
        for side in (1, 2)
    ]
    counts = report.counts_by_utterance[key]
    facts = [f"{counts.errors} of {counts.length}"]
    if about.get("speaker"):
        facts.append(f"speaker {about['speaker']}")
    if "seconds" in about:
        facts.append(f"{about['seconds']:.2f} s")
    facts += about.get("audio", [])
    note = escape(" \u00b7 ".join(facts))
    return (
        f'<div class="utt"><b>{escape(key)}</b> <span class="note">{note}</span>'
        f'<table class="words">{"".join(lines)}</table></div>'
    )
