"""Which curves of trainings are plotted, and how; `pictures` draws them with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt.files import atomic_path
from rnnt.pages.svg import Point
from rnnt.reporting.history import History


@dataclass(frozen=True)
class Plot:
    """Curves over the epochs.

    Attributes:
        name: of a file.
        title: what is plotted, with its unit.
        lines: {experiment or loss: points}, without points where it has none.
        logarithmic: scale, where all values are positive.
    """

    name: str
    title: str
    lines: Mapping[str, Sequence[Point]]
    logarithmic: bool = False


def plots(histories: Sequence[History]) -> list[Plot]:
    """All plots of some trainings, whose curves lie over each other."""

    def overlaid(name: str, title: str, curve: Callable[[History], list[Point]], logarithmic: bool = False) -> Plot:
        return Plot(name, title, {history.name: curve(history) for history in histories}, logarithmic)

    def dev(name: str, scale: float = 1.0) -> Callable[[History], list[Point]]:
        return lambda h: [(e.epoch, scale * v) for e in h.evaluations if (v := getattr(e, name)) is not None]

    found = [
        overlaid("wer", "WER of the dev set, %", dev("wer"), True),
        overlaid("cer", "CER of the dev set, %", dev("cer"), True),
        overlaid("loss", "Loss per token (what is minimised)", lambda h: h.curve("loss"), True),
    ]
    if len(histories) == 1:
        history = histories[0]
        terms = {name: history.curve(name) for name in history.losses() if name != "loss"}
        found.append(Plot("losses", "Losses per token", terms, True))
        if history.dev_sets():
            wers = {
                name: [(e.epoch, e.wers[name]) for e in history.evaluations if name in e.wers]
                for name in history.dev_sets()
            }
            found.append(Plot("wers", "WER of each dev set, %", wers, True))
    return [
        *found,
        overlaid("lr", "Learning rate", lambda h: h.curve("lr")),
        overlaid("grad_norm", "Norm of the gradient, before clipping", lambda h: h.curve("grad_norm"), True),
        overlaid("blanks", "Blanks among the tokens of the dev set, %", dev("blank_fraction", 100.0)),
        overlaid("speed", "Seconds of audio per second", lambda h: h.curve("audio_seconds_per_second")),
        overlaid("memory", "Most memory of rank 0, GB", lambda h: [(x, y / 1e9) for x, y in h.curve("memory_bytes")]),
    ]


def pictures(all_plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Write `<name>.png` of each plot that has points; returns their paths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = []
    for plot in all_plots:
        lines = {name: points for name, points in plot.lines.items() if points}
        if not lines:
            continue
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for name, points in lines.items():
            axes.plot(*zip(*points), label=name, marker="." if len(points) < 30 else "")
        if plot.logarithmic and all(y > 0 for points in lines.values() for _, y in points):
            axes.set_yscale("log")
        if len(plot.lines) > 1:
            axes.legend()
        axes.set_title(plot.title, fontsize="medium")
        axes.set_xlabel("epochs")
        axes.grid(alpha=0.3)
        paths.append(folder / f"{plot.name}.png")
        with atomic_path(paths[-1]) as path:
            figure.savefig(path, format="png", dpi=100)
    return paths
