"""What a manifest may name: files of this machine. Reading one never runs a command and never fetches anything.

lhotse would run a source of type `command` and a path that begins with `pipe:`, fetch one of type `url` or with a
scheme, and unpickle or fetch stored arrays of some types. A manifest may come from a stranger.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnt.errors import UserError, one_line

STORAGE_TYPES = {
    "lilcom_chunky", "lilcom_files", "lilcom_hdf5", "chunked_lilcom_hdf5", "numpy_files", "numpy_hdf5",
}  # fmt: skip


def check_sources(item: Any) -> Any:
    """The JSON value `item` of a manifest's line, as it is; `UserError` unless all that it names are plain files."""
    waiting = [item]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if isinstance(value.get("sources"), list):
                for source in value["sources"]:
                    if isinstance(source, dict):
                        _check_source(source)
            if "storage_type" in value:
                _check_storage(value)
            waiting += value.values()
    return item


def find_files(item: Any, manifest: Path) -> Any:
    """The JSON value of a cut with its relative paths seen from where they are found.

    That is the working directory, or else the folder of the manifest or one above it.

    Raises:
        UserError: a file is in none of them.
    """
    wanted = "storage_path" if item.get("features") else "source"  # audio whose features are stored is not needed
    for owner, name in relative_paths(item):
        if name != wanted:
            continue
        starts = (Path(), *manifest.absolute().parents)
        found = next((start / owner[name] for start in starts if os.path.exists(start / owner[name])), None)
        if found is None:
            raise UserError(
                f"{owner[name]}: no such file, neither from {Path.cwd()} nor from {manifest.absolute().parent} or a "
                "folder above it; start in the folder of the recipe, or run prepare.sh again from stage 3"
            )
        owner[name] = str(found)
    return item


def relative_paths(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """`(object, key)` of each relative path of a file in a cut."""
    if isinstance(value, list):
        for inner in value:
            yield from relative_paths(inner)
    elif isinstance(value, dict):
        for name in ("storage_path", "source"):
            is_path = isinstance(value.get(name), str) and (name == "storage_path" or value.get("type") == "file")
            if is_path and not os.path.isabs(value[name]):
                yield value, name
        for name in ("tracks", "cut", "recording", "features", "sources"):
            if name in value:
                yield from relative_paths(value[name])


def command_of(recording: Any) -> str | None:
    """The command that gives the audio of a recording (the JSON value of lhotse's), where it has no other source."""
    sources = recording.get("sources") if isinstance(recording, dict) else None
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        return None
    source = sources[0]
    is_command = source.get("type") == "command" and isinstance(source.get("source"), str)
    return source["source"] if is_command and not recording.get("transforms") else None


def _check_source(source: Mapping[str, Any]) -> None:
    kind, place = source.get("type"), source.get("source")
    if kind == "command":
        raise UserError(
            f"a source is the command {_shown(place)}; import the corpus with --allow-pipes true to run it once, "
            "or write its output to a file"
        )
    if kind != "file":
        raise UserError(f"a source is of type {_shown(kind)}; download the audio and name its file")
    _check_path(place)


def _check_storage(stored: Mapping[str, Any]) -> None:
    kind = stored["storage_type"]
    if kind not in STORAGE_TYPES:
        raise UserError(
            f"features are stored as {_shown(kind)}; only files are read ({', '.join(sorted(STORAGE_TYPES))})"
        )
    _check_path(stored.get("storage_path"))


def _check_path(path: Any) -> None:
    if not isinstance(path, str) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", path) or "\0" in path:
        raise UserError(f"{_shown(path)} is not the path of a file of this machine; write one")


def _shown(value: Any) -> str:
    return one_line(repr(value), 100)
