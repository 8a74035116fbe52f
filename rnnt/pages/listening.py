"""The part of a set's page that is listened to: audio beside each utterance, and what is shown of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

STYLE = """
form { display: flex; flex-wrap: wrap; gap: .4em 1.2em; align-items: baseline; }
form input, form select { font: inherit; width: 9em; } form input[type=number] { width: 4.5em; }
.words { margin: .2em 0 } .words td { font-family: ui-monospace, monospace; padding: .1em .3em; white-space: nowrap }
.S, .D, .I { color: var(--text) }
.S { background: var(--S) } .D { background: var(--D) } .I { background: var(--I) }
.utt { margin: 1.2em 0; border-top: 1px solid var(--line); padding-top: .6em }
audio { height: 2em; vertical-align: middle; max-width: 100%; } td audio { width: 14em; max-width: none; }
"""

LEGEND = (
    '<p class="weak"><span class="S">substituted</span> <span class="D">deleted</span> '
    '<span class="I">inserted</span>; {rows}</p>'
)

# Shows the utterances that fulfil all that is filled in, and says how many.
SCRIPT = """
const form = document.getElementById("filters");
function show() {
  const word = form.word.value.trim().toLowerCase(), least = Number(form.least.value || 0);
  const most = Number(form.most.value || Infinity), speaker = form.speaker.value, kind = form.kind.value;
  let shown = 0;
  for (const utterance of document.querySelectorAll(".utt")) {
    const data = utterance.dataset, seconds = Number(data.seconds || 0);
    const fits = (!word || data.words.split(" ").includes(word)) && (!speaker || data.speaker === speaker)
      && (!kind || data.kinds.split("|").includes(kind)) && seconds >= least && seconds <= most;
    utterance.hidden = !fits;
    shown += fits;
  }
  document.getElementById("shown").textContent = shown + " shown";
}
form.addEventListener("input", show);
form.addEventListener("submit", event => event.preventDefault());
"""


def filters(speakers: Iterable[str], kinds: Mapping[str, str]) -> str:
    """The form that chooses utterances by word, speaker, kind and duration; the script that heeds it.

    Args:
        speakers: of the utterances.
        kinds: {kind of an utterance: what the form calls it}.
    """
    names = "".join(f"<option>{escape(speaker)}</option>" for speaker in sorted(set(speakers)))
    values = "".join(f'<option value="{escape(kind)}">{escape(name)}</option>' for kind, name in kinds.items())
    return (
        '<form id="filters"><label>word <input name="word"></label>'
        f'<label>speaker <select name="speaker"><option value="">all</option>{names}</select></label>'
        f'<label>with <select name="kind"><option value="">anything</option>{values}</select></label>'
        '<label>seconds <input name="least" type="number" min="0" step="any"> to '
        '<input name="most" type="number" min="0" step="any"></label> <span id="shown"></span></form>'
        f"<script>{SCRIPT}</script>"
    )


@dataclass(frozen=True)
class Entry:
    """An utterance of a page.

    Attributes:
        id: of the utterance.
        about: its object of utterances.jsonl, or {}: speaker, seconds, audio.
        facts: a few words on it, shown before those of `about`.
        kinds: see `filters`.
        rows: of its table: a name (or nothing), and (class, word) of each column; None is an empty cell.
    """

    id: str
    about: Mapping[str, Any]
    facts: Sequence[str]
    kinds: Iterable[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, str | None]]]]

    def html(self, page_folder: Path) -> str:
        """The utterance as the filters and its reader need it, on a page in a folder."""
        about = self.about
        facts = [*self.facts, *([f"speaker {about['speaker']}"] if about.get("speaker") else [])]
        facts += [f"{about['seconds']:.2f} s"] if "seconds" in about else []
        note = escape(" \u00b7 ".join([*facts, *about.get("audio", [])]))
        words = sorted({word.lower() for _, cells in self.rows for _, word in cells if word})
        data = f' data-words="{escape(" ".join(words))}" data-kinds="{escape("|".join(self.kinds))}"'
        data += f' data-speaker="{escape(about["speaker"])}"' if about.get("speaker") else ""
        data += f' data-seconds="{about["seconds"]:g}"' if "seconds" in about else ""
        lines = (
            (f"<th>{escape(name)}</th>" if name else "")
            + "".join(f'<td class="{kind}">{escape(word or "")}</td>' for kind, word in cells)
            for name, cells in self.rows
        )
        return (
            f'<div class="utt"{data}><b>{escape(self.id)}</b> <span class="weak">{note}</span> '
            f"{player(about.get('audio', []), page_folder)}"
            f'<div class="scroll"><table class="words"><tr>{"</tr><tr>".join(lines)}</tr></table></div></div>'
        )


def player(files: Sequence[str], page_folder: Path, span: tuple[float, float] | None = None) -> str:
    """Players of audio files that are there, of a span in seconds or whole; nothing is loaded before it is played."""
    names = [os.path.relpath(file, page_folder) for file in files if os.path.isfile(file)]
    part = f"#t={span[0]:.2f},{span[1]:.2f}" if span else ""
    return "".join(f'<audio controls preload="none" src="{escape(quote(name))}{part}"></audio>' for name in names)
