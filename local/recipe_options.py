"""The options of a recipe's prepare.sh and run.sh: recipe_options.py --script SCRIPT --caller DIR -- WORDS...

Prints assignments for the shell: a variable for each option, an array for each group; how they are made:
rnnt/prepare/recipe/command_line.py. With --help among the words, prints the help of the script on standard error, and
`exit 0`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse
from rnnt.prepare.recipe.command_line import Script, command_line


@dataclass(frozen=True)
class ScriptOptions:
    """Script."""

    script: str = option(help="absolute path of the script")
    caller: str = option(help="folder where the user stands")


@program
def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    end = words.index("--") if "--" in words else len(words)
    (options,), _ = parse(make_parser(__doc__, ScriptOptions), [ScriptOptions], words[:end])
    script = Script(Path(options.script), Path(options.caller))
    try:
        sys.stdout.write(command_line(script, words[end + 1 :]))
    except UserError as error:
        print(f"{script.path.name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
