"""Error rates over a grid of options, as a table and a picture."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.errors import UserError
from rnnt.files import atomic_path, atomic_write
from rnnt.scoring.table import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Grid = Mapping[str, Sequence[str]]


def parse_grid(words: Sequence[str], known: Collection[str], of: str) -> dict[str, list[str]]:
    """`{option: values}` of words `NAME=VALUE,VALUE`.

    Args:
        words: of the command line.
        known: options by the names of their fields.
        of: what they are, for messages: `--options ...: expected an option of decode.py`.

    Raises:
        UserError: a word is no such thing.
    """
    grid: dict[str, list[str]] = {}
    for word in words:
        name, _, values = word.partition("=")
        name = name.lstrip("-").replace("_", "-")
        found = [value for value in values.split(",") if value]
        if name.replace("-", "_") not in known or not found or name in grid:
            raise UserError(of.format(word=word) + " with its values, such as lm-scale=0,0.1,0.2")
        grid[name] = found
    return grid


def combinations(grid: Grid) -> list[dict[str, str]]:
    """All combinations of values, `{option: value}`, those of the last option first."""
    return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


def write_grid(rows: Sequence[Mapping[str, Any]], grid: Grid, out: Path) -> Mapping[str, Any]:
    """Write and print the table `out`, and for one or two options a picture beside it (.png).

    Args:
        rows: of each combination, in the order of `combinations`: its values, and the numbers of summary.json.
        grid: the options.
        out: ends in .txt.

    Returns:
        The row with the lowest error rate.
    """
    best = min(rows, key=lambda row: row["wer"])
    cells = [
        [
            *(row[name] for name in grid),
            f"{row['wer']:.2f}", f"{row['wer_low']:.2f}-{row['wer_high']:.2f}",
            *(str(row[kind]) for kind in ("substitutions", "deletions", "insertions")),
            "best" if row is best else "",
        ]
        for row in rows
    ]  # fmt: skip
    table = format_table([[*grid, "%WER", "95%", "S", "D", "I", ""], *cells])
    with atomic_write(out) as file:
        file.writelines(f"{line}\n" for line in table)
    print("\n".join(table))
    pictures = ""
    if len(grid) <= 2:
        with atomic_path(out.with_suffix(".png")) as path:
            plot(rows, grid, path)
        pictures = f" and {out.with_suffix('.png')}"
    print(f"{out}{pictures}; best: {' '.join(f'--{name}={best[name]}' for name in grid)}", flush=True)
    return best


def plot(rows: Sequence[Mapping[str, Any]], grid: Grid, path: Path) -> None:
    """The error rates over the values of one option, with their intervals, or of two, as a map."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6.4, 4.0))
    names = list(grid)
    _plot_one(axis, rows, names[0]) if len(names) == 1 else _plot_two(axis, rows, grid)
    axis.set_xlabel(names[-1])
    figure.tight_layout()
    figure.savefig(path, format="png", dpi=100)
    pyplot.close(figure)


def _plot_one(axis: Axes, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    wer = [row["wer"] for row in rows]
    below, above = ([abs(row["wer"] - row[end]) for row in rows] for end in ("wer_low", "wer_high"))
    axis.errorbar([row[name] for row in rows], wer, yerr=[below, above], marker="o", capsize=3)
    axis.set_ylabel("%WER with its 95 % interval")


def _plot_two(axis: Axes, rows: Sequence[Mapping[str, Any]], grid: Grid) -> None:
    (first, ys), (_, xs) = grid.items()
    wer = [[rows[i * len(xs) + j]["wer"] for j in range(len(xs))] for i in range(len(ys))]
    image = axis.imshow(wer, cmap="viridis_r", aspect="auto")
    for i, j in itertools.product(range(len(ys)), range(len(xs))):
        axis.text(j, i, f"{wer[i][j]:.2f}", ha="center", va="center", color="white", backgroundcolor="#00000060")
    axis.set_xticks(range(len(xs)), xs)
    axis.set_yticks(range(len(ys)), ys)
    axis.set_ylabel(first)
    axis.figure.colorbar(image, ax=axis, label="%WER")
