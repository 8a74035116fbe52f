"""Runs a stage of a recipe's prepare.sh or run.sh, unless it is done: run_stage.py OPTIONS -- COMMAND...

Shows the command, and the time that it took. What a stage leaves behind when it has ended well, and when it runs again:
rnnt/prepare/recipe/stages.py. Exit status 1 when the command fails, 130 when it was interrupted.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse
from rnnt.prepare.recipe.stages import Stage, run_stage

ROOT = Path(__file__).absolute().parents[1]


@dataclass(frozen=True)
class StageOptions:
    """Stage."""

    number: int = option(help="number of the stage", minimum=0)
    title: str = option(help="its title")
    folder: str = option("", "folder of its results; empty: the command always runs, and knows itself what is done")
    log: str = option("", "file that the command, a launcher, lets its job write: it is shown as it grows")
    keep: bool = option(False, "the stage is done when it has ended well before, with whatever options")
    script: str = option("prepare.sh", "name of the script, for messages")
    stage: int | None = option(
        None, "run stage N and all later ones, done or not (default: only what is not done)", minimum=-1
    )
    stop_stage: int = option(100, "last stage that is wanted", minimum=-1)


@program
def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    end = words.index("--") if "--" in words else len(words)
    (options,), _ = parse(make_parser(__doc__, StageOptions), [StageOptions], words[:end])
    command = words[end + 1 :]
    if not command:
        raise UserError(f"stage {options.number}: no command; write it after --")
    stage = Stage(
        options.script,
        options.number,
        options.title,
        options.folder,
        command,
        log=options.log,
        root=str(ROOT),
        keep=options.keep,
    )
    raise SystemExit(run_stage(stage, options.stage, options.stop_stage))


if __name__ == "__main__":
    main()
