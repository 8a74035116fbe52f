"""The bookkeeping of stage 3: what is to be computed for a set, by whom, and what is done. Free of torch and lhotse.

The cuts of a set are planned as a list, which falls into chunks. Each chunk gets an archive of features and a list of
its finished cuts, which is written last: a chunk with a list is complete, and what was stopped continues after it. When
all are there, the folder gets its final name and the manifest is written.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rnnt.errors import UserError
from rnnt.files import atomic_bytes, atomic_write, read_json, read_json_object, write_json

# About 20 minutes of speech: little is lost when a process is killed, and 8000 h make some 20000 archives.
CHUNK_CUTS = 100


@dataclass(frozen=True)
class FeatureSet:
    """A set by the manifest (.jsonl or .jsonl.gz) that it becomes, and where it is made."""

    manifest: Path

    @property
    def name(self) -> str:
        return self.manifest.name.removesuffix(".gz").removesuffix(".jsonl")

    @property
    def folder(self) -> Path:
        """Where archives lie in the end, as the manifest names them."""
        return self.manifest.with_name(self.name)

    @property
    def part(self) -> Path:
        """Where the unfinished set lies."""
        return self.manifest.with_name(f".{self.name}.part")

    @property
    def cut_list(self) -> Path:
        return self.part / "cuts.jsonl"

    def is_finished(self, inputs: dict[str, Any]) -> bool:
        """Whether it was finished with the same `inputs`."""
        stamp = self.folder / "inputs.json"
        finished = self.manifest.is_file() and stamp.is_file() and read_json(stamp) == inputs
        if finished:
            self._clear_lists()  # which a killed process may not have come to
        return finished

    def keep_plan(self, inputs: dict[str, Any]) -> bool:
        """Whether its cuts are already listed from the same `inputs`; what is there of others is removed."""
        stamp = self.part / "inputs.json"
        if not (self.part.exists() or self.manifest.exists()) and (self.folder / "plan.json").is_file():
            self.folder.rename(self.part)  # a process was killed between the two steps of `_publish`
        if stamp.is_file() and read_json(stamp) == inputs:
            return True
        if self.part.exists():
            shutil.rmtree(self.part)
        return False

    def write_cut_list(self) -> AbstractContextManager[IO[str]]:
        """Open the list of cuts for writing; `note_plan` comes after it."""
        return atomic_write(self.cut_list)

    def note_plan(self, inputs: dict[str, Any], num_cuts: int, missing: Sequence[tuple[str, str]]) -> None:
        """Note that the list of cuts is complete.

        Args:
            inputs: JSON that describes what it was made from.
            num_cuts: its length.
            missing: `(id, problem)` of the utterances that are not in it, for stage 6.
        """
        if missing:
            write_json(self.part / "missing.json", missing)
        write_json(self.part / "plan.json", {"cuts": num_cuts})
        write_json(self.part / "inputs.json", inputs)

    def is_planned(self) -> bool:
        return (self.part / "inputs.json").is_file()

    @property
    def num_cuts(self) -> int:
        return read_json(self.part / "plan.json")["cuts"]

    def chunks(self) -> list[Chunk]:
        """All chunks of the planned set."""
        return [Chunk(self, number) for number in range(-(-self.num_cuts // CHUNK_CUTS))]

    def lines_of(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, list[bytes]]]:
        """Yield `(chunk, its lines of the list of cuts)` for each of `chunks`."""
        wanted = {chunk.number: chunk for chunk in chunks}
        with open(self.cut_list, "rb") as file:
            for number in range(max(wanted, default=-1) + 1):
                lines = list(itertools.islice(file, CHUNK_CUTS))
                if number in wanted:
                    yield wanted[number], lines

    def finish(self) -> list[tuple[str, str]]:
        """Write the manifest and give the folder its name; returns what was left out, `[(cut id, problem)]`.

        Raises `UserError` when chunks are missing or nothing could be read.
        """
        chunks = self.chunks()
        missing = sum(not chunk.is_done() for chunk in chunks)
        if missing:
            raise UserError(
                f"{self.folder}: {missing} of {len(chunks)} chunks are missing; run the splits that failed again"
            )
        skipped = [tuple(item) for chunk in chunks for item in read_json(chunk.skipped)]
        if len(skipped) == self.num_cuts:
            example = f", such as {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
            raise UserError(
                f"{self.folder}: no utterance of the set can be read{example}; look at its manifests (stage 1)"
            )
        write_json(self.part / "skipped.json", skipped)
        self._publish([chunk.done for chunk in chunks])
        return skipped

    def finish_without_features(self) -> None:
        """Make the list of cuts itself the manifest."""
        self._publish([self.cut_list])

    def _publish(self, lists: Sequence[Path]) -> None:
        with atomic_bytes(self.manifest) as file:
            for path in lists:
                with open(path, "rb") as lines:
                    shutil.copyfileobj(lines, file)
            self.manifest.unlink(missing_ok=True)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.part.rename(self.folder)
        self._clear_lists()

    def _clear_lists(self) -> None:
        """Remove what only the making of the set needs."""
        for pattern in ("cuts*.jsonl", "skipped-*.json", "plan.json"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Chunk:
    """`CHUNK_CUTS` consecutive cuts of a set."""

    set: FeatureSet
    number: int

    @property
    def archive(self) -> str:
        """The name of the archive of features."""
        return f"feats-{self.number:05d}.lca"

    @property
    def done(self) -> Path:
        """The list of its finished cuts."""
        return self.set.part / f"cuts-{self.number:05d}.jsonl"

    @property
    def skipped(self) -> Path:
        return self.set.part / f"skipped-{self.number:05d}.json"

    def is_done(self) -> bool:
        return self.done.is_file()

    @property
    def num_cuts(self) -> int:
        return min(CHUNK_CUTS, self.set.num_cuts - self.number * CHUNK_CUTS)


def split_of_chunks(sets: Sequence[FeatureSet], split: int, num_splits: int) -> list[Chunk]:
    """The unfinished chunks of a split (from 1): every `num_splits`-th of all chunks of the planned sets."""
    chunks = [chunk for feature_set in sets for chunk in feature_set.chunks()]
    return [chunk for chunk in chunks[split - 1 :: num_splits] if not chunk.is_done()]


def read_left_out(folder: str | Path) -> Iterator[tuple[str, str, str]]:
    """Yield `(fault, cut id, problem)` of what is not in the manifest of the set with this folder."""
    for fault, name in (("no audio", "missing.json"), ("unreadable audio", "skipped.json")):
        path = Path(folder) / name
        pairs = read_json(path) if path.is_file() else []
        for item in pairs if isinstance(pairs, list) else [pairs]:
            if not (isinstance(item, list) and len(item) == 2 and all(isinstance(word, str) for word in item)):
                raise UserError(f"{path}: not a list of pairs of an utterance and its problem; run stage 3 again")
            yield fault, item[0], item[1]


def stored_inputs(folder: str | Path) -> dict[str, dict[str, Any]]:
    """`{set: inputs}` of the finished sets in `folder`."""
    return {
        path.parent.name: read_json_object(path, "features", "library")
        for path in Path(folder).glob("[!.]*/inputs.json")
    }
