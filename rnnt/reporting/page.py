"""The page about trainings: one HTML file with everything in it, no script and no network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from rnnt.pages.document import document
from rnnt.pages.svg import line_plot
from rnnt.reporting.history import Evaluation, History
from rnnt.reporting.plots import plots
from rnnt.reporting.verdict import judge

SAMPLES = 12  # epochs of which a sample is shown


def page(histories: Sequence[History]) -> str:
    """The HTML of one or more experiments, whose curves lie over each other."""
    title = " / ".join(history.name for history in histories)
    parts = [f"<h1>{escape(title)}</h1>"]
    for number, history in enumerate(histories):
        name = f'<b><span class="c{number % 8}">{escape(history.name)}</span></b> ' if len(histories) > 1 else ""
        verdict = judge(history)
        parts.append(f'<p class="verdict" data-state="{verdict.state}">{name}{escape(_sentence(verdict.text))}</p>')
        parts.append(f'<p class="weak">{escape(facts(history))}</p>')
    parts.append('<div class="plots">')
    for plot in plots(histories):
        svg = line_plot(plot.lines, "epochs", plot.logarithmic)
        parts.append(f"<section><h2>{escape(plot.title)}</h2>{svg}</section>" if svg else "")
    parts.append("</div>")
    for history in histories:
        parts += [_evaluations(history), _skipped(history)]
    return document(title, parts)


def facts(history: History) -> str:
    """Epochs, updates, restarts and skipped updates in one line."""
    last = history.progress[-1] if history.progress else {}
    done = f"{len(history.evaluations)}" + (f" of {history.epochs}" if history.epochs else "") + " epochs"
    parts = [done]
    if last:
        parts += [f"update {last['step']}", f"last heard of {time.strftime('%Y-%m-%d %H:%M', _clock(last))}"]
    parts += [f"restarts {max(len(history.starts) - 1, 0)}", f"skipped updates {len(history.skipped)}"]
    parts.append({True: "ended", False: "stopped or failed", None: "running, or killed"}[history.ended])
    return "; ".join(parts if history.starts else parts[:1])


def _clock(record: dict[str, object]) -> time.struct_time:
    seconds = record.get("time")
    return time.localtime(seconds if isinstance(seconds, (int, float)) else 0)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _evaluations(history: History) -> str:
    """A table of the last epochs, each with a reference and what was recognised."""
    sets = history.dev_sets()

    def wers(found: Evaluation) -> str:
        return "".join(f'<td class="n">{found.wers[n]:.2f}</td>' if n in found.wers else "<td></td>" for n in sets)

    rows = "".join(
        f'<tr><td class="n">{e.epoch}</td><td class="n">{e.wer:.2f}</td>'
        f'<td class="n">{"" if e.cer is None else f"{e.cer:.2f}"}</td>{wers(e)}'
        f"<td>{escape(e.hyp) or '<i class=weak>nothing</i>' if e.ref else ''}</td></tr>"
        for e in history.evaluations[-SAMPLES:]
    )
    if not rows:
        return ""
    reference = escape(history.evaluations[-1].ref)
    heads = "".join(f'<th class="n">WER {escape(name)}</th>' for name in sets)
    return (
        f'<h2>{escape(history.name)}: epochs</h2><div class="scroll"><table><tr><th class="n">epoch</th>'
        f'<th class="n">WER</th><th class="n">CER</th>{heads}<th>sample; the reference: {reference}</th></tr>'
        f"{rows}</table></div>"
    )


def _skipped(history: History) -> str:
    """The updates whose gradient was not finite, with their utterances where those are known."""
    if not history.skipped:
        return ""
    items = "".join(f"<li>update {step}: {escape(' '.join(names)[:400])}</li>" for step, names in history.skipped[:50])
    return f"<h2>{escape(history.name)}: skipped updates</h2><ul>{items}</ul>"
