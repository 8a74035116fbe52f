"""Plots as inline SVG: no script, no other file; colours come from the style sheet of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 8, 34
MOST_POINTS = 600  # of a line; more would only make the page larger
STYLES = 8  # colours of the style sheet


def line_plot(lines: Mapping[str, Sequence[Point]], x_name: str, logarithmic: bool = False) -> str:
    """A plot of lines by name, with a legend where there are several; values that are not finite are left out.

    Args:
        lines: {name: points}; the n-th has the colour `c<n>`.
        x_name: what stands below the axis.
        logarithmic: the scale of y, where all values are positive.
    """
    shown = {name: thinned([p for p in points if all(map(math.isfinite, p))]) for name, points in lines.items()}
    points = [point for line in shown.values() for point in line]
    if not points:
        return ""
    logarithmic = logarithmic and all(y > 0 for _, y in points)
    height = [math.log10(y) if logarithmic else y for _, y in points]
    x_low, x_high = _widened(min(x for x, _ in points), max(x for x, _ in points))
    y_low, y_high = _widened(min(height), max(height))

    def place(point: Point) -> str:
        x, y = point
        y = math.log10(y) if logarithmic else y
        right = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return f"{right:.1f},{down:.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for value in log_ticks(10**y_low, 10**y_high) if logarithmic else ticks(y_low, y_high):
        down = place((x_low, value)).split(",")[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down}" dy=".35em" text-anchor="end">{_number(value)}</text>')
    at_bottom = 10**y_low if logarithmic else y_low
    for tick in ticks(x_low, x_high):
        right = place((tick, at_bottom)).split(",")[0]
        parts.append(f'<text x="{right}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_name)}</text>')
    for number, (name, line) in enumerate(shown.items()):
        if line:
            title = f"<title>{escape(name)}: {_number(line[-1][1])} at the end</title>"
            path = " ".join(map(place, line))
            parts.append(f'<polyline class="c{number % STYLES}" points="{path}">{title}</polyline>')
            right, down = place(line[-1]).split(",")
            parts.append(f'<circle class="c{number % STYLES}" cx="{right}" cy="{down}" r="2.5">{title}</circle>')
    parts.append("</svg>")
    if len(shown) > 1:
        names = (f'<span class="c{n % STYLES}">{escape(name)}</span>' for n, name in enumerate(shown))
        parts.append(f'<p class="legend">{" ".join(names)}</p>')
    return "".join(parts)


def thinned(line: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(line) <= most:
        return list(line)
    size = math.ceil(2 * len(line) / most)
    found: list[Point] = []
    for start in range(0, len(line), size):
        stretch = line[start : start + size]
        found += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return found if found[-1] == line[-1] else [*found, line[-1]]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two numbers."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * n for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two positive numbers, for a logarithmic scale."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [v for power in powers for factor in factors if low <= (v := factor * 10.0**power) <= high]
        if len(found) >= 3:
            return found
    return [value for value in ticks(low, high) if value > 0]


def _widened(low: float, high: float) -> Point:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _number(value: float) -> str:
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text
