"""Shards of a decoded set: what each job of an array leaves in `<set>/parts/`, until all are scored together.

A shard is a file of JSON lines. The first line is its head: `key` (what the result depends on), `facts` (about the job)
and `seconds` (spent in decoding). The others are the objects of utterances.jsonl, with the texts `ref` and `hyp`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rnnt.errors import UserError
from rnnt.files import atomic_write


def shard_path(folder: str | Path, number: int, count: int) -> Path:
    """The file of shard `number` of `count`, counted from 1, of the set in `folder`."""
    return Path(folder) / "parts" / f"{number}-of-{count}.jsonl"


def write_shard(path: str | Path, head: Mapping[str, Any], utterances: Iterable[Mapping[str, Any]]) -> None:
    """Write a shard, atomically."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in (head, *utterances))


def has_shard(path: str | Path, key: Any) -> bool:
    """Whether the shard exists and was made with the same `key`."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.loads(file.readline())["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_shards(folder: str | Path, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The heads of all shards, and the objects of their utterances in the order of the ids.

    Raises:
        UserError: when a shard is missing or broken, or comes from another decode.
    """
    heads: list[dict[str, Any]] = []
    utterances: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        path = shard_path(folder, number, count)
        try:
            with open(path, encoding="utf-8") as file:
                head, *more = map(json.loads, file)
        except OSError:
            raise UserError(f"{path}: no such file; run decode.py with --split {number}/{count} first") from None
        except ValueError:
            raise UserError(f"{path}: not complete; remove it and decode --split {number}/{count} again") from None
        if heads and head["key"] != heads[0]["key"]:
            raise UserError(
                f"{path}: made with other options or another model than --split 1/{count}; "
                "decode all shards again with the same options and model"
            )
        heads.append(head)
        utterances += more
    return heads, sorted(utterances, key=lambda utterance: utterance["id"])


def remove_shards(folder: str | Path) -> None:
    """Remove the shards of the set in `folder`, which has been scored."""
    shutil.rmtree(Path(folder) / "parts", ignore_errors=True)
