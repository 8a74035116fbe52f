"""Checkpoints: complete or absent, plain tensors and numbers, and which ones to keep.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries: `torch.load(weights_only=True)` reads
it and nothing in it is ever executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from rnnt.checkpoints.schema import fault_of
from rnnt.checkpoints.upgrade import upgrade_checkpoint
from rnnt.errors import UserError, one_line
from rnnt.files import atomic_path

FORMAT = 2  # of checkpoints and of config.json; 1 is read, too: see `rnnt.checkpoints.upgrade`


class DamagedCheckpoint(UserError):
    """A file that is no checkpoint, or one that can't be continued from, whatever the options."""


def damaged(path: str | Path, fault: str) -> DamagedCheckpoint:
    """What to raise about a checkpoint with a fault."""
    return DamagedCheckpoint(f"{path}: not a checkpoint that can be used ({fault}); remove it and use an older one")


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write `state` atomically; `UserError` when that fails, with what stood at `path` unharmed."""
    with atomic_path(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch wraps the file's OSError
            raise UserError(
                f"{path}: can't write the checkpoint ({_reason(error)}); the older ones are kept: "
                "make room on the disk and start the same command again"
            ) from error


def _reason(error: BaseException) -> str:
    cause = error.__context__ or error
    return getattr(cause, "strerror", None) or one_line(cause)


def load_checkpoint(path: str | Path) -> Any:
    """Read a checkpoint onto the CPU, of any format; `UserError` on a missing or broken file."""
    try:
        return upgrade_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a cut-off file raises one of many kinds
        raise DamagedCheckpoint(
            f"{path}: not a readable checkpoint ({one_line(error)}); remove it and use an older one"
        ) from error


def load_training(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of a training; `UserError` unless it holds all of one, with finite weights."""
    state = load_checkpoint(path)
    fault = fault_of(state)
    if fault:
        raise damaged(path, fault)
    return state


def numbered(exp_dir: str | Path, kind: str) -> dict[int, Path]:
    """`{number: path}` of `epoch-N.pt` or `checkpoint-N.pt`, in rising order."""
    found = {}
    for path in Path(exp_dir).glob(f"{kind}-*.pt"):
        match = re.fullmatch(rf"{kind}-(\d+)\.pt", path.name)
        if match and path.is_file():
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def newest_checkpoint(
    exp_dir: str | Path, warn: Callable[[str], None], check: Callable[[Path, Any], None] = lambda path, state: None
) -> tuple[Path, Any] | None:
    """`(path, state)` to continue from, or None. One that is damaged is passed over with a warning.

    Args:
        exp_dir: the experiment folder.
        warn: gets the warnings.
        check: of a path and its state; raises `DamagedCheckpoint` to go back to the one before.
    """
    kinds = {kind: _good_ones(exp_dir, kind, warn) for kind in ("epoch", "checkpoint")}
    newest = {kind: next(found, None) for kind, found in kinds.items()}
    while True:
        # By what they hold, not by the dates of the files: a copied folder has other dates.
        heads = {kind: head for kind, head in newest.items() if head is not None}
        if not heads:
            return None
        kind = max(heads, key=lambda kind: tuple(heads[kind][1]["position"][k] for k in ("epoch", "batch")))
        try:
            check(*heads[kind])
            return heads[kind]
        except DamagedCheckpoint as error:
            warn(f"{error}; going back to the one before")
            newest[kind] = next(kinds[kind], None)


def _good_ones(exp_dir: str | Path, kind: str, warn: Callable[[str], None]) -> Iterator[tuple[Path, Any]]:
    """The checkpoints of a kind that hold what they should, from the newest to the oldest."""
    for number, path in reversed(numbered(exp_dir, kind).items()):
        try:
            state = load_training(path)
            position = state["position"]
            if number != (position["step"] if kind == "checkpoint" else position["epoch"] - 1):
                raise damaged(path, f"it stands at {position}, which its name contradicts")
            yield path, state
        except DamagedCheckpoint as error:
            warn(f"{error}; going back to the one before")


def remove_old(
    exp_dir: str | Path, keep_last_k: int, keep_last_epochs: int, keep_best_epochs: int, measures: Mapping[int, float]
) -> None:
    """Delete checkpoints that no rule keeps.

    Args:
        exp_dir: the experiment folder.
        keep_last_k: newest checkpoint-N.pt to keep.
        keep_last_epochs: newest epoch-N.pt to keep; 0: all.
        keep_best_epochs: epoch-N.pt with the lowest measures to keep as well.
        measures: {epoch: what was measured on the dev set}.
    """
    for path in list(numbered(exp_dir, "checkpoint").values())[:-keep_last_k]:
        path.unlink()
    if keep_last_epochs:
        epochs = numbered(exp_dir, "epoch")
        best = sorted((measure, -epoch) for epoch, measure in measures.items() if epoch in epochs)[:keep_best_epochs]
        kept = {-epoch for _, epoch in best} | set(list(epochs)[-keep_last_epochs:])
        for epoch in set(epochs) - kept:
            epochs[epoch].unlink()
