"""The experiment folder: what was run, with what, and whether a checkpoint fits the present options."""

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError
from rnnt.files import write_json
from rnnt.model.config import ModelConfig
from rnnt.options import from_dict, to_dict

PACKAGES = ["torch", "k2", "lhotse", "sentencepiece", "kaldifeat", "numpy", "jiwer", "tensorboard"]


def file_sha256(path):
    """SHA-256 of a file, as hexadecimal text."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def plan_fingerprint(batch, durations, group):
    """Identifies everything the batch plan depends on, so that a position in it keeps its meaning.

    group: micro-batches that make an update, which counts where their size is fixed.
    """
    key = [batch.seed, batch.max_duration, batch.short_first_epochs, len(durations)]
    if batch.max_duration_utt:
        key.append(batch.max_duration_utt)
    if batch.batch_size:
        key += [batch.batch_size, batch.num_buckets, group]
    return hashlib.sha256(json.dumps(key).encode() + np.asarray(durations, np.float32).tobytes()).hexdigest()


def versions():
    """Versions of Python and of the packages that are installed, and the git commit if there is one."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    found["git"] = git.stdout.strip() or None
    return found


def describe(configs):
    """`{name: options}` for the dataclasses in `configs`, a dictionary by name."""
    return {name: to_dict(config) for name, config in configs.items()}


def claim(exp_dir):
    """Keep other trainings out of a folder as long as the open file that is returned lives, or this process.

    Raises `UserError` naming the training that is at work there.
    """
    path = Path(exp_dir) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise UserError(
            f"{exp_dir}: another training is at work there ({file.read().strip()}); wait for its end, or choose "
            "another --exp-dir"
        ) from None
    except OSError:
        return file  # a file system without locks
    file.truncate(0)
    print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
    return file


def write_experiment(exp_dir, configs, bpe_model):
    """Record options, versions and command line in `config.json`, and keep a copy of the tokenizer's file."""
    exp_dir = Path(exp_dir)
    exp_dir.mkdir(parents=True, exist_ok=True)
    record = {
        **describe(configs),
        "versions": versions(),
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    write_json(exp_dir / "config.json", record)
    if bpe_model and Path(bpe_model).resolve() != (exp_dir / "bpe.model").resolve():
        shutil.copyfile(bpe_model, exp_dir / "bpe.model")


def differences(stored, wanted):
    """`name is X in the checkpoint and Y now`, for each option of two dictionaries that differs."""
    return [
        f"{name} is {stored.get(name)} in the checkpoint and {wanted.get(name)} now"
        for name in sorted(set(stored) | set(wanted))
        if stored.get(name) != wanted.get(name)
    ]


def check_fits(path, stored, wanted):
    """Refuse a checkpoint of another model, front-end, tokenizer or, in the middle of an epoch, another plan.

    Args:
      path: the checkpoint.
      stored, wanted: dictionaries as `identity` makes them.
    """
    found = []
    for part, cls in (("model", ModelConfig), ("features", FeatureConfig)):
        # Options that came later had their defaults when the checkpoint was written.
        before = to_dict(from_dict(cls, stored["config"][part], path))
        found += differences(before, wanted["config"][part])
    if stored["tokenizer"] != wanted["tokenizer"]:
        found.append("the SentencePiece model is another one")
    if stored["loss"] != wanted["loss"]:
        found.append(f"the loss heads are {stored['loss']} in the checkpoint and {wanted['loss']} now")
    if found:
        raise UserError(f"{path}: {'; '.join(found)}; choose another --exp-dir or go back to the options of that run")
    if stored["plan"] != wanted["plan"]:
        raise UserError(
            f"{path}: stands in the middle of an epoch of another batch plan (seed, --max-duration, "
            "--short-first-epochs, --batch-size or the data changed); go back to them, or give --start-epoch to "
            "begin at an epoch"
        )


def set_up_log(exp_dir, is_main):
    """A logger to stdout and `<exp_dir>/log/train.txt` for the main process; warnings alone for the others."""
    log = logging.getLogger("rnnt")
    log.handlers.clear()
    log.propagate = False
    form = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers = [logging.StreamHandler(sys.stdout)]
    if is_main:
        (Path(exp_dir) / "log").mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(Path(exp_dir) / "log" / "train.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)
    log.setLevel(logging.INFO if is_main else logging.WARNING)
    return log


def resolve_model_config(config, features, tokenizer):
    """Fill in the sizes that the data knows; refuse sizes that contradict it."""
    for name, option_name, known, owner in (
        ("num_features", "--num-features", features.num_mel_bins, "features"),
        ("vocab_size", "--vocab-size", tokenizer.vocab_size, "tokenizer"),
    ):
        given = getattr(config, name)
        if given and given != known:
            raise UserError(f"{option_name} is {given}, but the {owner} have {known}; leave the option out")
        config = dataclasses.replace(config, **{name: known})
    return dataclasses.replace(config, blank_id=tokenizer.blank_id)
