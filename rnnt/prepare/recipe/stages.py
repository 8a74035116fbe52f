"""What is up to date, and what runs again: the stages of `prepare.sh` and `run.sh`, and decoding.

What has ended well leaves a marker, which holds the command and the configuration files that it named. A stage is done
when its marker holds the same; a stage that runs removes the markers of all later ones.
"""

from __future__ import annotations

import shlex
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_write
from rnnt.prepare.recipe.facts import with_bases
from rnnt.prepare.recipe.jobs import INTERRUPTED, follow, run_command

# Options that change no result; each takes one word.
HOW_IT_RUNS = ("--nj", "--cmd", "--decode-nj")
CONFIGURATIONS = (".yaml", ".conf", ".txt")


def work_key(command: Sequence[str], root: str = "") -> str:
    """What the result of a command depends on: its words, and the configuration files among them with their bases.

    Args:
        command: `HOW_IT_RUNS` are left out.
        root: of the checkout; it is left out of the words, so that a checkout that moves stays the same.
    """
    lines, words = [], iter(command)
    for word in words:
        if word in HOW_IT_RUNS:
            next(words, None)
            continue
        lines.append(shlex.quote(word.removeprefix(f"{root}/") if root else word))
        if word.endswith(CONFIGURATIONS) and Path(word).is_file():
            for path in with_bases(Path(word)):
                data = path.read_bytes()
                lines.append(f"{zlib.crc32(data)} {len(data)}")
    return "".join(line + "\n" for line in lines)


def is_done(marker: Path, key: str) -> bool:
    """Whether a command with this key has ended well before."""
    return marker.is_file() and marker.read_text(encoding="utf-8") == key


def mark_done(marker: Path, key: str) -> None:
    """Note that a command has ended well."""
    with atomic_write(marker) as file:
        file.write(key)


def stage_marker(folder: str | Path, number: int) -> Path:
    """The marker of a stage whose results lie in `folder`."""
    return Path(folder) / f".stage-{number}.done"


def remove_later_markers(data: Path, number: int) -> None:
    """Let all stages after `number` run again; their markers lie in the folders of `data`."""
    for marker in data.glob("*/.stage-*.done"):
        if int(marker.name.removeprefix(".stage-").removesuffix(".done")) > number:
            marker.unlink(missing_ok=True)


def is_decoded(folder: Path, sets: Sequence[str], key: str) -> bool:
    """Whether the results of a decoding method are complete, made with the same options, and newer than the model.

    Args:
        folder: of the method, below that of the model.
        sets: names of the sets.
        key: of the command that decodes.
    """
    marker = folder / ".done"
    if not is_done(marker, key) or not all((folder / name / "summary.json").is_file() for name in sets):
        return False
    decoded = marker.stat().st_mtime_ns
    # Averages are made of the checkpoints by whoever needs them, and change nothing.
    checkpoints = [path for path in folder.parent.glob("*.pt") if not path.name.startswith("averaged-")]
    return all(path.stat().st_mtime_ns <= decoded for path in checkpoints)


@dataclass(frozen=True)
class Stage:
    """A stage of a script.

    Attributes:
        script: name of the script, for messages.
        folder: of its results; empty: the command itself knows what is done, and always runs.
        command: what it runs.
        log: file that the command, a launcher, lets its job write; empty: it writes to the terminal.
        root: of the checkout, see `work_key`.
        keep: a stage that has ended well with whatever options is done.
    """

    script: str
    number: int
    title: str
    folder: str
    command: Sequence[str]
    log: str = ""
    root: str = ""
    keep: bool = False

    @property
    def name(self) -> str:
        return f"{'' if self.folder else self.script + ': '}stage {self.number}: {self.title}"

    def is_done(self) -> bool:
        """Whether it has ended well before, and would do the same again."""
        if not self.folder:
            return False
        marker = stage_marker(self.folder, self.number)
        return marker.is_file() if self.keep else is_done(marker, work_key(self.command, self.root))


def run_stage(stage: Stage, first: int | None = None, last: int = 100) -> int:
    """Run a stage unless it is done.

    Args:
        stage: what to run.
        first, last: the stages that are wanted; with `first` they run in any case.

    Returns:
        The exit status: 0, 1 on failure, 130 when it was interrupted.
    """
    if not (first or 0) <= stage.number <= last:
        return 0
    if first is None and stage.is_done():
        print(f"{stage.name}: done before, skipped", flush=True)
        return 0
    # The configuration that the work begins with counts, should it be edited meanwhile.
    key = work_key(stage.command, stage.root)
    if stage.folder:
        remove_later_markers(Path("data"), stage.number)
        stage_marker(stage.folder, stage.number).unlink(missing_ok=True)
    print(f"{stage.name}\n  {shlex.join(stage.command)}", flush=True)
    start = time.monotonic()
    try:
        status, interrupted = follow(Path(stage.log), stage.command) if stage.log else run_command(stage.command)
    except OSError as error:
        raise UserError(f"{stage.name}: can't run {stage.command[0]}: {error.strerror}") from None
    seconds = f"{time.monotonic() - start:.0f} s"
    if status == 0 and stage.folder:
        mark_done(stage_marker(stage.folder, stage.number), key)
    if interrupted or status == INTERRUPTED:
        print(f"{stage.name}: interrupted after {seconds}; the same command continues", file=sys.stderr, flush=True)
        return INTERRUPTED
    if status:
        print(
            f"{stage.name}: failed after {seconds}; fix what is reported above and call {stage.script} again: it "
            "continues from here",
            file=sys.stderr,
            flush=True,
        )
        return 1
    print(f"{stage.name}: took {seconds}", flush=True)
    return 0
