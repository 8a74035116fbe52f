"""Checkpoints: whole or absent, plain tensors and numbers, and which ones to keep.

A checkpoint is a dictionary of tensors, numbers, strings, lists and dictionaries: `torch.load(weights_only=True)` reads
it and nothing in it is ever executed.
"""

import re
from pathlib import Path

import torch

from rnnt.errors import UserError
from rnnt.files import atomic_path


def save_checkpoint(path, state):
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


def _reason(error):
    cause = error.__context__ or error
    return getattr(cause, "strerror", None) or " ".join(str(cause).split())[:200]


def load_checkpoint(path):
    """Read a checkpoint onto the CPU; `UserError` on a missing or broken file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a cut-off file raises one of many kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not a readable checkpoint ({reason}); remove it and use an older one") from error


def numbered(exp_dir, kind):
    """`{number: path}` of `epoch-N.pt` or `checkpoint-N.pt`, in rising order."""
    found = {}
    for path in Path(exp_dir).glob(f"{kind}-*.pt"):
        match = re.fullmatch(rf"{kind}-(\d+)\.pt", path.name)
        if match:
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def newest_checkpoint(exp_dir, warn):
    """`(path, state)` to continue from, or None. A checkpoint that can't be read is passed over with a warning."""
    found = []
    for kind in ("epoch", "checkpoint"):
        for path in reversed(numbered(exp_dir, kind).values()):
            try:
                found.append((path, load_checkpoint(path)))
                break
            except UserError as error:
                warn(f"{error}; going back to the one before")
    # By what they hold, not by the dates of the files: a copied folder has other dates.
    return max(found, key=lambda item: tuple(item[1]["position"][k] for k in ("epoch", "batch")), default=None)


def remove_old(exp_dir, keep_last_k, keep_last_epochs, keep_best_epochs, dev_wer):
    """Delete checkpoints that no rule keeps.

    Args:
      keep_last_k: newest checkpoint-N.pt to keep.
      keep_last_epochs: newest epoch-N.pt to keep; 0: all.
      keep_best_epochs: epoch-N.pt with the lowest dev WER to keep besides.
      dev_wer: {epoch: WER}.
    """
    for path in list(numbered(exp_dir, "checkpoint").values())[:-keep_last_k]:
        path.unlink()
    if keep_last_epochs:
        epochs = numbered(exp_dir, "epoch")
        best = sorted((wer, -epoch) for epoch, wer in dev_wer.items() if epoch in epochs)[:keep_best_epochs]
        kept = {-epoch for _, epoch in best} | set(list(epochs)[-keep_last_epochs:])
        for epoch in set(epochs) - kept:
            epochs[epoch].unlink()
