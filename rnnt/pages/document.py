"""An HTML document with everything in it, light or dark as the reader's system is; a style that all pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --text: #222; --back: #fff; --weak: #666; --line: #ddd; --track: #eee; --bar: #4a7ab5;
  --c0: #2b6cb0; --c1: #c05621; --c2: #2f855a; --c3: #97266d; --c4: #b7791f; --c5: #4a5568; --c6: #00838f;
  --c7: #9b2c2c; --S: #ffe08a; --D: #f7b2ad; --I: #b9dcf5 }
@media (prefers-color-scheme: dark) { :root { --text: #ddd; --back: #181a1b; --weak: #999; --line: #3a3d3f;
  --track: #2a2d2f; --c0: #63b3ed; --c1: #f6ad55; --c2: #68d391; --c3: #f687b3; --c4: #f6e05e; --c5: #a0aec0;
  --c6: #4dd0e1; --c7: #fc8181; --S: #6b5400; --D: #7a2f2a; --I: #1f4a6b } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5em auto; max-width: 76em; padding: 0 1em; color: var(--text);
  background: var(--back); overflow-wrap: anywhere }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin: 2em 0 .3em } .weak { color: var(--weak); font-size: .9em }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30em, 100%), 1fr)); gap: 1.5em }
.plots h2 { margin-top: 0 } svg { width: 100%; height: auto; font-size: 11px; fill: var(--weak) }
.grid { stroke: var(--line) } .legend { margin: 0 }
polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round } circle { stroke: none }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: .5em 0 }
.scroll td, .scroll th { overflow-wrap: normal }
td, th { padding: .15em 1em .15em 0; text-align: left; vertical-align: top } th { white-space: nowrap }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
""" + "".join(
    f"polyline.c{n} {{ stroke: var(--c{n}) }} circle.c{n} {{ fill: var(--c{n}) }} span.c{n} {{ color: var(--c{n}) }}\n"
    for n in range(8)
)


NUMBER = re.compile(r"[+-]?[\d.]+(e[+-]?\d+)?")


def document(title: str, parts: Iterable[str], style: str = "") -> str:
    """The HTML of a page.

    Args:
        title: of the page, as plain text.
        parts: of its body, HTML; empty ones are left out.
        style: rules that this page adds to those of all.
    """
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body>\n"
    )
    return head + "\n".join(part for part in parts if part) + "\n</body></html>\n"


def table(names: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """An HTML table that scrolls where it is too wide; numbers are flush right, texts that are one too.

    Args:
        names: of the columns, as plain text.
        rows: cells; a text is HTML.
    """
    lines, numeric = [], [True] * len(names)
    for row in rows:
        right = [bool(NUMBER.fullmatch(str(cell))) for cell in row]
        numeric = [n and r for n, r in zip(numeric, right)]
        cells = (f"<td{' class=n' if r else ''}>{cell}</td>" for r, cell in zip(right, row))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    if not lines:
        return ""
    head = "".join(f"<th{' class=n' if n else ''}>{escape(name)}</th>" for name, n in zip(names, numeric))
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
