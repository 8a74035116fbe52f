"""What the training configuration says about the data, so that nobody types it twice: a contradiction is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.config_files import BESIDE, read_config
from rnnt.errors import UserError


@dataclass(frozen=True)
class TrainingFacts:
    """Values of a training configuration that the preparation needs; None: it does not say."""

    path: str
    subsampling_factor: int | None = None
    vocab_size: int | None = None
    blank_id: int | None = None
    num_features: int | None = None
    fbank_config: str | None = None

    @property
    def blank(self) -> str | None:
        """`first` or `last`, as `--blank` says it."""
        if self.blank_id == 0:
            return "first"
        is_last = self.blank_id is not None and self.vocab_size in (None, self.blank_id + 1)
        return "last" if is_last else None


def with_bases(path: Path) -> list[Path]:
    """A YAML file and those that it is based on, as far as they exist."""
    files: list[Path] = []
    while path.is_file() and path.resolve() not in [file.resolve() for file in files]:
        files.append(path)
        base = _flat_values(path.read_text(encoding="utf-8", errors="replace")).get("base")
        path = path.parent / base if base else path
    return files


def read_values(path: str | Path) -> dict[str, Any]:
    """`{option: value}` of a YAML file, on top of the file that its line `base: FILE` names, relative to itself."""
    try:
        return read_config(path)
    except ImportError:  # scripts read their options before the environment exists
        return _read_flat(Path(path))


def _read_flat(path: Path) -> dict[str, Any]:
    """Lines `name: value` of a file and its bases without PyYAML; values stay texts."""
    try:
        values = _flat_values(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: can't read the configuration: {error.strerror}") from None
    base = values.pop("base", None)
    values.update({name: str(path.parent / values[name]) for name in BESIDE if values.get(name)})
    return {**(_read_flat(path.parent / base) if base else {}), **values}


def _flat_values(text: str) -> dict[str, str]:
    found = (re.match(r"([\w-]+):\s*(.*?)\s*(?:(?:^|\s)#.*)?$", line) for line in text.splitlines())
    return {match[1].replace("-", "_"): match[2].strip("\"'") for match in found if match}


def read_training_facts(path: str | Path, folder: str | Path = "") -> TrainingFacts:
    """The `TrainingFacts` of a configuration of `train.py`; its path and those in it are seen from `folder`."""
    values = read_values(Path(folder) / path)
    numbers: dict[str, int] = {}
    for name in ("subsampling_factor", "vocab_size", "blank_id", "num_features"):
        if values.get(name) is None:
            continue
        try:
            numbers[name] = int(values[name])
        except (TypeError, ValueError):
            raise UserError(f"{path}: {name}: expected int, got {values[name]!r}") from None
    # 0 stands for "as the data has it" there.
    for name in ("vocab_size", "num_features"):
        if numbers.get(name) == 0:
            del numbers[name]
    front_end = values.get("front_end")
    return TrainingFacts(
        str(path), fbank_config=os.path.relpath(front_end, folder or ".") if front_end else None, **numbers
    )


def apply_facts(values: Mapping[str, Any], given: Mapping[str, str], facts: TrainingFacts) -> dict[str, Any]:
    """Complete the values of the preparation by what the training configuration says.

    Args:
        values: `{option: value}` of the preparation, defaults included.
        given: `{option: location}` of those that the user gave: the option itself, or a file.
        facts: of the training configuration.

    Returns:
        `values` with the facts in place of defaults.

    Raises:
        UserError: when the user gave another value, or options of `train.py` that contradict the preparation.
    """
    found: dict[str, tuple[str, Any]] = {}  # option: (name in the configuration, value)
    if facts.subsampling_factor is not None:
        found["subsampling_factor"] = ("subsampling_factor", facts.subsampling_factor)
    if facts.fbank_config is not None:
        found["fbank_config"] = ("front_end", facts.fbank_config)
    if facts.blank is not None and values["token_type"] != "file":  # a list has blank at any id
        found["blank"] = ("blank_id", facts.blank)
    out = dict(values)
    for option, (name, value) in found.items():
        if option in given and not _same(option, values[option], value):
            shown = f"{facts.blank_id}, which is the {value} id" if name == "blank_id" else value
            _refuse(option, values[option], given, name, shown, facts)
        out[option] = values[option] if option in given else value
    if facts.vocab_size is not None and values["token_type"] == "bpe":
        # Blank behind the tokens is none of SentencePiece's.
        size = facts.vocab_size - (out["blank"] == "last")
        if "vocab_size" in given and values["vocab_size"][:1] != [size]:
            shown = f"{facts.vocab_size}, blank included" if out["blank"] == "last" else facts.vocab_size
            _refuse("vocab_size", " ".join(map(str, values["vocab_size"])), given, "vocab_size", shown, facts)
        if values["vocab_size"][:1] != [size]:
            out["vocab_size"] = [size]
    _check_train_opts(out.get("train_opts", ""), out, facts.path)
    return out


def check_num_features(facts: TrainingFacts, fbank_config: str, default: int) -> None:
    """Refuse a front-end with another number of filters than the training configuration has features.

    Args:
        facts: of the training configuration.
        fbank_config: file of the front-end.
        default: filters of a front-end whose file does not say how many.
    """
    if facts.num_features is None:
        return
    filters = int(read_values(fbank_config).get("num_mel_bins") or default)
    if filters != facts.num_features:
        raise UserError(
            f"num_features is {facts.num_features} in {facts.path} and num_mel_bins is {filters} in {fbank_config}; "
            "give --train-config and --fbank-config files that agree"
        )


def _check_train_opts(words: str, values: Mapping[str, Any], path: str) -> None:
    """Refuse options of `train.py` with which the data that are prepared do not go.

    Args:
        words: of --train-opts.
        values: `{option: value}` of the preparation, after `apply_facts`.
        path: of the training configuration, for the message.
    """
    prepared = {"subsampling_factor": values["subsampling_factor"]}
    if values["token_type"] == "bpe" and values["vocab_size"]:
        is_last = values["blank"] == "last"
        prepared["vocab_size"] = values["vocab_size"][0] + is_last
        prepared["blank_id"] = values["vocab_size"][0] if is_last else 0
    line = iter(words.split())
    for word in line:
        flag, equals, value = word.partition("=")
        name = flag[2:].replace("-", "_")
        if flag == "--config":
            raise UserError("--train-opts has --config, which prepare.sh does not see; use --train-config")
        if word.startswith("--") and name in prepared:
            value = value if equals else next(line, "")
            if value != str(prepared[name]):
                raise UserError(
                    f"--train-opts has {flag} {value} and the data are prepared for {prepared[name]}; write "
                    f"{name}: {value} into {path} or into a file based on it, and name that with --train-config"
                )


def _same(option: str, value: Any, fact: Any) -> bool:
    if option == "fbank_config":
        return Path(value).resolve() == Path(fact).resolve()
    return value == fact


def _refuse(option: str, value: Any, given: Mapping[str, str], name: str, fact: Any, facts: TrainingFacts) -> None:
    flag = "--" + option.replace("_", "-")
    place = "" if given[option] == flag else f" in {given[option]}"
    raise UserError(
        f"{flag} is {value}{place} and {name} is {fact} in {facts.path}; leave {flag} out, or name the configuration "
        "that is meant with --train-config (run.sh: --config)"
    )
