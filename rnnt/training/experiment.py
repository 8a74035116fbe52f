"""The experiment folder: what was run, with what, and whether a checkpoint fits the present options."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rnnt.checkpoints.files import FORMAT
from rnnt.checkpoints.versions import versions
from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError, one_line
from rnnt.files import copy_file, write_json
from rnnt.model.config import ModelConfig
from rnnt.options import flag, from_dict, to_dict

if TYPE_CHECKING:
    from rnnt.model.objectives.config import ObjectiveConfig


def lock_experiment(exp_dir: str | Path) -> TextIO:
    """Keep other trainings out of a folder as long as the open file that is returned lives, or this process.

    Raises `UserError` naming the training that is at work there.
    """
    path = Path(exp_dir) / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a link: whoever made the folder may not say which file is emptied.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(f"{path}: can't open it: {error.strerror}; remove it, or choose another --exp-dir") from None
    file = os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")
    # A process that loads features outlives a killed training for seconds, and would hold its lock.
    os.register_at_fork(after_in_child=file.close)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = one_line(file.read(1000))
        raise UserError(
            f"{exp_dir}: another training is at work there ({owner}); wait for its end, or choose another --exp-dir"
        ) from None
    except OSError:
        return file  # a file system without locks
    with contextlib.suppress(OSError):  # a full disk: the name is only for messages
        file.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
    return file


def write_experiment(
    exp_dir: str | Path, options: Any, resolved: Mapping[str, Any], bpe_model: str | Path | None
) -> None:
    """Record options, versions and command line in `config.json`, and keep a copy of the tokenizer's file.

    Args:
        exp_dir: the folder.
        options: of the run.
        resolved: configurations by name that the data has completed, in place of those of `options`.
        bpe_model: the tokenizer's file, if there is one.
    """
    exp_dir = Path(exp_dir)
    record = {
        "format": FORMAT,
        **to_dict(options),
        **{name: to_dict(config) for name, config in resolved.items()},
        "versions": versions(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_json(exp_dir / "config.json", record)
    if bpe_model:
        copy_file(bpe_model, exp_dir / "bpe.model")


def differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """`name is X in the checkpoint and Y now`, for each option of two dictionaries that differs."""
    found = []
    for name in sorted(set(stored) | set(wanted)):
        before, now = stored.get(name), wanted.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            found += [f"{name}: {line}" for line in differences(before, now)]
        elif before != now:
            found.append(f"{name} is {before} in the checkpoint and {now} now")
    return found


def check_same_kind(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a checkpoint of a recogniser where a language model is trained, and the other way round."""
    if set(stored["config"]) != set(wanted["config"]):
        there = "a language model" if "language_model" in stored["config"] else "a recogniser"
        raise UserError(f"{path}: it is of {there}; choose another --exp-dir")


def check_compatible(path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a checkpoint of another model, front-end, tokenizer or, in the middle of an epoch, another plan.

    Args:
        path: the checkpoint.
        stored: its fingerprint, as rnnt/training/run.py makes it.
        wanted: that of this run.

    Raises:
        UserError: they differ.
    """
    check_same_kind(path, stored, wanted)
    found = []
    for part, cls in (("model", ModelConfig), ("features", FeatureConfig)):
        # Options that came later had their defaults when the checkpoint was written.
        before = to_dict(from_dict(cls, stored["config"][part], path))
        found += differences(before, wanted["config"][part])
    found += differences(stored.get("finetune", {}), wanted.get("finetune", {}))
    if stored["tokenizer"] != wanted["tokenizer"]:
        found.append("the SentencePiece model differs")
    if stored["losses"] != wanted["losses"]:
        found.append(f"--loss is {' '.join(stored['losses'])} in the checkpoint and {' '.join(wanted['losses'])} now")
    if found:
        raise UserError(f"{path}: {'; '.join(found)}; choose another --exp-dir or return to the options of that run")
    check_same_plan(path, stored, wanted, "seed, --max-duration, --short-first-epochs, --batch-size or the data")


def check_same_plan(path: Path, stored: dict[str, Any], wanted: dict[str, Any], of: str) -> None:
    """Refuse a checkpoint in the middle of an epoch of another plan; `of` says what a plan depends on."""
    if stored["plan"] != wanted["plan"]:
        raise UserError(
            f"{path}: stands in the middle of an epoch of another batch plan ({of} changed); return to them, or give "
            "--start-epoch to begin at an epoch"
        )


class _Endable(logging.Handler):
    """A handler that is left out from the moment when it can't write: the training goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        error, log = sys.exc_info()[1], logging.getLogger("rnnt")
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self in log.handlers:
            log.removeHandler(self)
            log.warning("the log goes on without %s: %s", self.name, error.strerror)


class _LogStream(_Endable, logging.StreamHandler):
    pass


class _LogFile(_Endable, logging.FileHandler):
    pass


def set_up_log(is_main: bool) -> logging.Logger:
    """A logger to stdout: of the main process, whose lines wait for `open_log_file`; of the others warnings alone."""
    log = logging.getLogger("rnnt")
    log.handlers.clear()
    log.propagate = False
    form = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [_LogStream(sys.stdout)]
    handlers[0].set_name("standard output")
    if is_main:
        handlers.append(MemoryHandler(1 << 16, logging.CRITICAL + 1))
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)
    log.setLevel(logging.INFO if is_main else logging.WARNING)
    return log


def open_log_file(exp_dir: str | Path, log: logging.Logger) -> None:
    """Write what the main process has logged so far, and from now on, to `<exp_dir>/log/train.txt`; `UserError`."""
    path = Path(exp_dir) / "log" / "train.txt"
    memory = next(handler for handler in log.handlers if isinstance(handler, MemoryHandler))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't write it: {error.strerror}; make room, or choose another --exp-dir") from None
    file.set_name(str(path))
    file.setFormatter(memory.formatter)
    log.removeHandler(memory)
    log.addHandler(file)
    memory.setTarget(file)
    memory.close()


def resolve_model_config(config: ModelConfig, features: FeatureConfig, tokenizer: Any) -> ModelConfig:
    """Fill in the sizes that the data knows.

    Raises:
        UserError: an option contradicts the data.
    """
    for name, known, owner in (
        ("num_features", features.num_mel_bins, f"the features have {features.num_mel_bins}"),
        ("vocab_size", tokenizer.vocab_size, f"the tokenizer has {tokenizer.vocab_size}"),
        ("blank_id", tokenizer.blank_id, f"the tokenizer has blank at {tokenizer.blank_id}"),
    ):
        given = getattr(config, name)
        if given and given != known:
            raise UserError(f"{flag(name)} is {given}, but {owner}; leave the option out")
    if config.blank_id == 0 != tokenizer.blank_id:
        raise UserError(f"--blank-id is 0, but the tokenizer has blank at {tokenizer.blank_id}; leave the option out")
    return dataclasses.replace(
        config, num_features=features.num_mel_bins, vocab_size=tokenizer.vocab_size, blank_id=tokenizer.blank_id
    )


def without_unused_parts(config: ModelConfig, losses: Sequence[ObjectiveConfig]) -> ModelConfig:
    """A model without predictor and joiner where no loss needs them.

    Raises:
        UserError: --transducer false, and a loss needs them.
    """
    needing = [loss.name for loss in losses if loss.needs_transducer]
    if needing and not config.transducer:
        raise UserError(f"--transducer false: --loss {needing[0]} needs predictor and joiner; leave the option out")
    return dataclasses.replace(config, transducer=bool(needing))
