"""Pictures (PNG) of what the sets hold."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.errors import counted
from rnnt.files import atomic_path

if TYPE_CHECKING:
    from rnnt.prepare.corpus_statistics import SetStatistics

BINS = 50
MOST_BARS = 100


def write_plots(sets: dict[str, SetStatistics], train_set: str, folder: Path) -> None:
    """Write durations.png, tokens.png, speakers.png and characters.png of `{set: SetStatistics}` to `folder`."""
    sets = {name: s for name, s in sets.items() if len(s)}
    for name, what in (("durations", "seconds per utterance"), ("tokens", "tokens per utterance")):
        with atomic_path(folder / f"{name}.png") as path:
            plot_histograms({n: s.measures()[what] for n, s in sets.items()}, what, path)
    with atomic_path(folder / "speakers.png") as path:
        plot_speakers({n: s.speaker_hours() for n, s in sets.items()}, path)
    with atomic_path(folder / "characters.png") as path:
        plot_characters(sets[train_set].characters, train_set, path)


def plot_histograms(values: Mapping[str, np.ndarray], what: str, path: Path) -> None:
    """A histogram of `{set: values}` for each set, on one scale."""
    longest = max((max(v) for v in values.values()), default=1.0)
    with _rows(len(values), path) as axes:
        for axis, (name, numbers) in zip(axes, values.items()):
            axis.hist(numbers, bins=BINS, range=(0, longest))
            axis.set_ylabel("utterances")
            axis.set_title(f"{name}: {counted(len(numbers), 'utterance')}", fontsize="medium")
        axes[-1].set_xlabel(what)


def plot_speakers(hours: Mapping[str, Sequence[float]], path: Path) -> None:
    """Hours of each speaker, the one with most first. `hours`: {set: [hours]}."""
    with _rows(len(hours), path) as axes:
        for axis, (name, numbers) in zip(axes, hours.items()):
            axis.stairs(numbers, np.arange(len(numbers) + 1), fill=True)
            axis.set_ylabel("hours")
            axis.set_title(f"{name}: {counted(len(numbers), 'speaker')}", fontsize="medium")
        axes[-1].set_xlabel("speaker, by hours")


def plot_characters(counts: Counter[str], name: str, path: Path) -> None:
    """How often the most frequent characters occur. `counts`: `Counter`."""
    shown = counts.most_common(MOST_BARS)
    with _rows(1, path, height=3.5) as (axis,):
        # Where the font may lack a character, its number stands for it.
        labels = [c if ord(c) < 0x2000 else f"U+{ord(c):04X}" for c, _ in shown]
        axis.bar(range(len(shown)), [count for _, count in shown])
        axis.set_xticks(range(len(shown)), labels, fontsize=7, rotation=90 if any(len(x) > 1 for x in labels) else 0)
        axis.set_yscale("log")
        axis.set_ylabel("times")
        axis.set_title(f"{name}: {counted(len(counts), 'character')}", fontsize="medium")


@contextlib.contextmanager
def _rows(count: int, path: Path, height: float = 1.8) -> Iterator[Any]:
    """Yield `count` axes below each other; what was drawn is written to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = max(count, 1)
    figure = Figure(figsize=(7, height * count), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(path, format="png", dpi=100)
