"""The bookkeeping of stage 3: what is to be computed for a set, by whom, and what is done. Free of torch and lhotse.

The cuts of a set are planned as a list, which falls into chunks. Each chunk gets an archive of features and a list of
its finished cuts, which is written last: a chunk with a list is whole, and what was stopped goes on after it. When all
are there, the folder gets its final name and the manifest is written.
"""

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_bytes, atomic_write, read_json, write_json

# About 20 minutes of speech: little is lost when a process is killed, and 8000 h make some 20000 archives.
CHUNK_CUTS = 100


@dataclass(frozen=True)
class FeatureSet:
    """A set by the manifest (.jsonl or .jsonl.gz) that it becomes, and where it is made."""

    manifest: Path

    @property
    def name(self):
        return self.manifest.name.removesuffix(".gz").removesuffix(".jsonl")

    @property
    def folder(self):
        """Where archives lie in the end, as the manifest names them."""
        return self.manifest.with_name(self.name)

    @property
    def part(self):
        """Where the unfinished set lies."""
        return self.manifest.with_name(f".{self.name}.part")

    @property
    def cut_list(self):
        return self.part / "cuts.jsonl"

    def is_finished(self, inputs):
        """Whether it was finished with the same `inputs`."""
        stamp = self.folder / "inputs.json"
        return self.manifest.is_file() and stamp.is_file() and read_json(stamp) == inputs

    def plan(self, inputs, write):
        """Make the list of cuts with `write(file)`, which returns their number; inputs: JSON that describes them.

        What is there of the same inputs is kept, what is there of others is removed.
        """
        stamp = self.part / "inputs.json"
        if self.part.exists() and not (stamp.is_file() and read_json(stamp) == inputs):
            shutil.rmtree(self.part)
        if not stamp.is_file():
            with atomic_write(self.cut_list) as file:
                number = write(file)
            write_json(self.part / "plan.json", {"cuts": number})
            write_json(stamp, inputs)

    def note_missing(self, missing):
        """Keep `[(id, problem)]` of the utterances that are not in the list of cuts, for stage 6."""
        if missing:
            write_json(self.part / "missing.json", missing)

    def is_planned(self):
        return (self.part / "inputs.json").is_file()

    @property
    def num_cuts(self):
        return read_json(self.part / "plan.json")["cuts"]

    def chunks(self):
        """All chunks of the planned set."""
        return [Chunk(self, number) for number in range(-(-self.num_cuts // CHUNK_CUTS))]

    def lines_of(self, chunks):
        """Yield `(chunk, its lines of the list of cuts)` for each of `chunks`."""
        wanted = {chunk.number: chunk for chunk in chunks}
        with open(self.cut_list, "rb") as file:
            for number in range(max(wanted, default=-1) + 1):
                lines = list(itertools.islice(file, CHUNK_CUTS))
                if number in wanted:
                    yield wanted[number], lines

    def finish(self):
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

    def finish_without_features(self):
        """Make the list of cuts itself the manifest."""
        self._publish([self.cut_list])

    def _publish(self, lists):
        with atomic_bytes(self.manifest) as file:
            for path in lists:
                with open(path, "rb") as lines:
                    shutil.copyfileobj(lines, file)
            self.manifest.unlink(missing_ok=True)
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.part.rename(self.folder)
        for pattern in ("cuts*.jsonl", "skipped-*.json", "plan.json"):
            for path in self.folder.glob(pattern):
                path.unlink()


@dataclass(frozen=True)
class Chunk:
    """`CHUNK_CUTS` consecutive cuts of a set."""

    set: FeatureSet
    number: int

    @property
    def archive(self):
        """The name of the archive of features."""
        return f"feats-{self.number:05d}.lca"

    @property
    def done(self):
        """The list of its finished cuts."""
        return self.set.part / f"cuts-{self.number:05d}.jsonl"

    @property
    def skipped(self):
        return self.set.part / f"skipped-{self.number:05d}.json"

    def is_done(self):
        return self.done.is_file()

    @property
    def num_cuts(self):
        return min(CHUNK_CUTS, self.set.num_cuts - self.number * CHUNK_CUTS)


def share(sets, split, num_splits):
    """The unfinished chunks of a split (from 1): every `num_splits`-th of all chunks of the planned sets."""
    chunks = [chunk for feature_set in sets for chunk in feature_set.chunks()]
    return [chunk for chunk in chunks[split - 1 :: num_splits] if not chunk.is_done()]


def read_left_out(folder):
    """Yield `(fault, cut id, problem)` of what is not in the manifest of the set with this folder."""
    for fault, name in (("no audio", "missing.json"), ("unreadable audio", "skipped.json")):
        path = Path(folder) / name
        for cut_id, problem in read_json(path) if path.is_file() else ():
            yield fault, cut_id, problem


def stored_inputs(folder):
    """`{set: inputs}` of the finished sets in `folder`."""
    return {path.parent.name: read_json(path) for path in Path(folder).glob("[!.]*/inputs.json")}
