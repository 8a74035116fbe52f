"""conf/queue.conf and conf/slurm.conf: how options of the launchers become options of the site's scheduler.

# a comment, at the end of a line too
command sbatch --export=PATH       how to submit; required
option mem=* --mem-per-cpu $0      for any value, which replaces $0
option mem=0                       for exactly this value, before `*`; nothing is passed on
default gpu=0                      the value where the caller gives none
"""

import os
import re
import shlex

from launch.command_line import LaunchError, Request

# Options of the launchers themselves.
OWN = {"config", "patience", "pick", "requeue", "sync"}

_NAMED = re.compile(r"(?:(option)|default)\s+([A-Za-z_][\w-]*)=(\S+)(?:\s+(.*))?$")


class Conf:
    """A configuration; `source` names it in messages."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.command = ""
        self.rules = {}  # type: dict[str, dict[str, str]]  # {option: {value or "*": text}}
        self.defaults = {}  # type: dict[str, str]

    def command_words(self) -> "list[str]":
        """The submit command."""
        return _split(self.command, self.source)

    def value(self, request: Request, name: str) -> "str | None":
        """The value of an option: the last one given, else the default, else None."""
        return request.options.get(name, [self.defaults.get(name)])[-1]

    def arguments(self, request: Request, skip: "set[str] | tuple[str, ...]" = ()) -> "list[list[str]]":
        """What the options of a request become, except for those in `skip`: one list of words per option.

        Raises:
            LaunchError: for an option, or a value of it, that the file does not know.
        """
        found = []
        for name in list(request.options) + [name for name in self.defaults if name not in request.options]:
            if name in OWN or name in skip:
                continue
            value = self.value(request, name) or ""
            rules = self.rules.get(name, {})
            text = rules.get(value, rules.get("*"))
            if text is None:
                raise LaunchError(
                    f"{self.source} has no rule for --{name.replace('_', '-')} {value}: add a line like "
                    f"`option {name}=* ARGUMENTS` to it, or drop the option"
                )
            found.append([word.replace("$0", value) for word in _split(text, self.source)])
        return found


def _split(text: str, source: str) -> "list[str]":
    try:
        return shlex.split(text)
    except ValueError as error:
        raise LaunchError(f"{source}: `{text}`: {error}", status=1) from None


def parse(text: str, source: str) -> Conf:
    """Read the text of a configuration; raises `LaunchError` with file and line."""
    conf = Conf(source)
    for number, line in enumerate(text.splitlines(), 1):
        location = f"{source}, line {number}"
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if not line:
            continue
        match = _NAMED.match(line)
        _split(line, location)
        if line.split(None, 1)[0] == "command":
            conf.command = line[len("command") :].strip()
        elif match and match.group(1):
            conf.rules.setdefault(match.group(2).replace("-", "_"), {})[match.group(3)] = match.group(4) or ""
        elif match and not match.group(4):
            conf.defaults[match.group(2).replace("-", "_")] = match.group(3)
        else:
            raise LaunchError(
                f"{location}: can't read `{line}`: a line is `command CMD`, `option NAME=VALUE ARGUMENTS`, "
                "`default NAME=VALUE` or a comment",
                status=1,
            )
    if not conf.command:
        raise LaunchError(f"{source}: no line `command CMD`, such as `command sbatch` or `command qsub -cwd`", status=1)
    return conf


def load(request: Request, usual_path: str, built_in: str) -> Conf:
    """Read the file of `--config`, else `usual_path` where it exists, else the text `built_in`."""
    given = request.options.get("config")
    path = given[-1] if given else usual_path
    if not given and not os.path.exists(path):
        return parse(built_in, f"the built-in configuration of {request.tool}")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise LaunchError(f"{path}: can't read this configuration: {error}", status=1) from None
    return parse(text, path)
