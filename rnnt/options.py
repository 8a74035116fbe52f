"""Options of the programs, declared once as frozen dataclasses beside the component they configure.

A field is one of three:

    size: int = option(3, "a size")                             an option: --size 3
    encoder: Any = component(ENCODERS, "lstm", "an encoder")    a choice: --encoder lstm, with the options of an LSTM
    optim: OptimConfig                                          a dataclass of further options

A number says which ones it takes, `option(3, "a size", minimum=1)`: help shows it, and every value from a command line,
a `--config FILE` or a stored configuration is checked against it (`rnnt.option_values`); what is not finite is refused
everywhere. From the dataclasses a program gets its `argparse` parser and builds the objects. The command line beats
the file, the file beats the default. An option of a component that was not chosen is refused. Loads no heavy package.
"""

import argparse
import itertools
import re
import sys
import textwrap
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from rnnt.config_files import read_config_places
from rnnt.errors import UserError
from rnnt.option_values import Range, Text, convert, shown, value_type
from rnnt.registry import Registry

# Options that were called otherwise: the old name is refused with the new one.
RENAMED = {"piece_seconds": "chunk_seconds", "clip_scale": "clipping_scale"}


def option(
    default: Any = MISSING,
    help: str = "",
    choices: Collection[Any] | None = None,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    nonempty: bool = False,
) -> Any:
    """A dataclass field that is an option.

    Args:
        default: its value where none is given; without it the option is required.
        help: its help text; empty where `choices` have theirs.
        choices: what it may be; a mapping has what stands for each, with the attribute `help`.
        minimum: the lowest number that it may be.
        above: the number that it must be above.
        maximum: the highest number that it may be.
        below: the number that it must be below.
        nonempty: a list needs at least one value.
    """
    numbers = Range(minimum, above, maximum, below)
    metadata = {"help": help, "choices": choices, "range": numbers, "nonempty": nonempty}
    return make_field(default, metadata)


def make_field(default: Any, metadata: Mapping[str, Any]) -> Any:
    """A dataclass field with the metadata of an option; each object gets a list of its own."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def component(registry: Registry, default: str, help: str) -> Any:
    """A dataclass field that holds the configuration of one component of a registry, which its name chooses."""
    metadata = {"help": help, "registry": registry, "many": False, "default": [default]}
    return field(default_factory=lambda: registry.config(default)(), metadata=metadata)


def components(registry: Registry, default: Sequence[str], help: str) -> Any:
    """A dataclass field that holds a tuple with the configurations of several components, each chosen at most once."""
    metadata = {"help": help, "registry": registry, "many": True, "default": list(default)}
    return field(default_factory=lambda: tuple(registry.config(name)() for name in default), metadata=metadata)


def flag(name: str) -> str:
    """`max_duration` -> `--max-duration`."""
    return "--" + name.replace("_", "-")


def default_of(f: Field[Any]) -> Any:
    """The default of an option; MISSING where it is required."""
    return f.default_factory() if f.default_factory is not MISSING else f.default


def changed(config: Any) -> list[str]:
    """The names of the options of a dataclass that are not at their defaults."""
    return [f.name for f in fields(config) if getattr(config, f.name) != default_of(f)]


def _title(cls: type) -> str:
    return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


def _groups(cls: type, title: str = "") -> Iterator[tuple[str, list[Field]]]:
    """`(title, fields)` of each group of options in `--help`: of a class, its components and its inner dataclasses."""
    own = [f for f in fields(cls) if "registry" in f.metadata or not is_dataclass(f.type)]
    if own:
        yield title or _title(cls), own
    for f in fields(cls):
        if "registry" in f.metadata:
            for config in f.metadata["registry"].configs():
                yield from _groups(config, f"{flag(f.name)} {config.name}: {_title(config)}")
        elif is_dataclass(f.type):
            yield from _groups(typing.cast(type, f.type))


def _all_fields(classes: Sequence[type]) -> dict[str, list[Field]]:
    """The fields of each option of `classes` by name; components may share one, such as `dropout`."""
    found: dict[str, list[Field]] = {}
    for cls in classes:
        for _, group in _groups(cls):
            for f in group:
                found.setdefault(f.name, []).append(f)
    return found


class _HelpOnly(argparse.Action):
    """An option that stands in several groups of `--help` and is parsed once."""

    def __call__(self, *_: Any) -> None:
        raise NotImplementedError


def _keywords(f: Field) -> dict[str, Any]:
    """The arguments of `argparse` for a field; values stay texts until the component that they belong to is known."""
    choices = f.metadata.get("choices")
    by_name = [f"{name}: {choice.help}" for name, choice in choices.items()] if isinstance(choices, Mapping) else []
    text = (f.metadata.get("help", "") + "; ".join(by_name)).replace("%", "%%")
    if "registry" in f.metadata:
        names, many = list(f.metadata["registry"]), f.metadata["many"]
        text += f" (default: {' '.join(f.metadata['default'])})"
        return {"help": text, "metavar": "{" + ",".join(names) + "}", **({"nargs": "+"} if many else {})}
    scalar, is_list = value_type(f.type)
    metavar = "{" + ",".join(map(str, choices)) + "}" if choices else {int: "N", float: "X"}.get(scalar, "TEXT")
    if choices and len(metavar) > 60:  # argparse never breaks it
        text += "" if by_name else f": {', '.join(map(str, choices))}"
        metavar = "NAME"
    default = default_of(f)
    default_text = " ".join(map(str, default)) if is_list and default is not MISSING else default
    keywords: dict[str, Any] = {"nargs": "*"} if is_list else {}
    if scalar is bool:
        keywords, metavar, default_text = {"nargs": "?", "const": "true"}, "true|false", str(default).lower()
    notes = [str(f.metadata.get("range") or "")]
    if default is MISSING:
        notes.append("required")
    elif default is not None and default_text != "":
        notes.append(f"default: {default_text}")
    text += f" ({', '.join(filter(None, notes))})" if any(notes) else ""
    return {"help": text, "metavar": metavar, **keywords}


class HelpFormatter(argparse.HelpFormatter):
    """Fills titles and the paragraphs of a description to the width of the terminal; indented lines stay as they are.

    The last column of a long row of a table, an indented line with two blanks between its columns, is filled too.
    """

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and textwrap.fill(heading, self._width - 1))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for is_indented, block in itertools.groupby(text.strip().splitlines(), lambda line: line[:1] in ("", " ")):
            for line in block if is_indented else [" ".join(block)]:
                gap = re.match(r" .*\S {2,}(?=\S)", line)
                if is_indented and (gap is None or len(line) <= width):
                    lines.append(line)
                else:
                    # Under a wide first column there is no room: the row goes on further left.
                    hanging = " " * (0 if gap is None else gap.end() if gap.end() <= width - 12 else 8)
                    lines += textwrap.wrap(line, width, subsequent_indent=hanging, break_on_hyphens=False)
        return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage of a program with a hundred options would hide it."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **keywords})

    def error(self, message: str) -> typing.NoReturn:
        message = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
        self.exit(2, f"{self.prog}: error: {message}; --help lists the options\n")

    def _print_message(self, message: str, file: typing.Any = None) -> None:
        """As argparse does it, but what can't be written is an error."""
        if message:
            (file or sys.stderr).write(message)


def make_parser(description: str | None, *classes: type) -> argparse.ArgumentParser:
    """A parser with `--config` and the options of `classes`. Abbreviated options are refused: they age badly."""
    parser = Parser(description=description, allow_abbrev=False)
    parser.usage = "%(prog)s [--config FILE] [options]"
    parser.add_argument(
        "--config",
        metavar="FILE",
        action="append",
        default=[],
        help="YAML file of options; the command line overrides it, and a further --config the one before",
    )
    known: set[str] = set()
    for title, group_fields in (pair for cls in classes for pair in _groups(cls)):
        group = parser.add_argument_group(title)
        for f in group_fields:
            keywords = _keywords(f)
            if f.name in known:
                # Public methods would refuse the name a second time.
                group._group_actions.append(_HelpOnly([flag(f.name)], f.name, **keywords))
            else:
                # Options left out are absent from the namespace, so that --config can fill them.
                group.add_argument(flag(f.name), default=argparse.SUPPRESS, **keywords)
                known.add(f.name)
    return parser


@dataclass(frozen=True)
class _Given:
    """A value that was given for an option: in the file `path`, or on the command line."""

    name: str
    value: Any
    path: Path | None = None

    def error(self, problem: object) -> Exception:
        """What to raise about it: `UserError` names the file, a ValueError becomes the error of the parser."""
        if self.path is not None:
            return UserError(f"{self.path}: {self.name}: {problem}")
        return ValueError(f"argument {flag(self.name)}: {problem}")


class _Builder:
    """Builds dataclasses from the given values, and knows which of them nobody asked for."""

    def __init__(self, given: dict[str, _Given]) -> None:
        self.given = given
        self.used: set[str] = set()

    def build(self, cls: type) -> Any:
        """An object of `cls`; raises ValueError."""
        values: dict[str, Any] = {}
        for f in fields(cls):
            if "registry" in f.metadata:
                values[f.name] = self._components(f)
            elif is_dataclass(f.type):
                values[f.name] = self.build(typing.cast(type, f.type))
            elif f.name in self.given:
                values[f.name] = self._value(f)
            elif f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"{flag(f.name)} is required")
        return cls(**values)

    def _value(self, f: Field) -> Any:
        self.used.add(f.name)
        given = self.given[f.name]
        try:
            return convert(f, given.value)
        except ValueError as error:
            raise given.error(error) from None

    def _components(self, f: Field) -> Any:
        registry, many = f.metadata["registry"], f.metadata["many"]
        self.used.add(f.name)
        given = self.given.get(f.name, _Given(f.name, f.metadata["default"]))
        items = given.value if isinstance(given.value, list) else [given.value]
        if not all(isinstance(item, str) for item in items):
            raise given.error(f"expected names, got {shown(given.value)}")
        names = [word for item in items for word in item.replace(",", " ").split()]
        for name in names:
            if name not in registry:
                raise given.error(f"{name!r} is not one of {', '.join(registry)}")
        if not names or len(names) > len(set(names)) or (not many and len(names) > 1):
            raise given.error(f"{' '.join(names)!r}: expected {'names, each once' if many else 'one name'}")
        configs = tuple(self.build(registry.config(name)) for name in names)
        return configs if many else configs[0]


def _owners(name: str, classes: Sequence[type]) -> str:
    """`--encoder conformer` or `--encoder lstm`: the components that have an option."""
    groups = [group for cls in classes for group in _groups(cls)]
    return " or ".join(title.partition(":")[0] for title, group in groups if name in [f.name for f in group])


def parse(
    parser: argparse.ArgumentParser, classes: Sequence[type], argv: Sequence[str] | None = None
) -> tuple[list[Any], argparse.Namespace]:
    """Parse `argv` and return `(objects, namespace)`, one object per dataclass of `classes`, in their order.

    Exits with status 2 and one line on a bad option or value; a bad `--config` raises `UserError`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for word in words:
        name = word.partition("=")[0][2:].replace("-", "_")
        if word.startswith("--") and name in RENAMED:
            parser.error(f"{flag(name)} is now {flag(RENAMED[name])}")
    args = parser.parse_args(words)
    known = _all_fields(classes)
    given: dict[str, _Given] = {}
    for name, (value, path) in (pair for file in args.config for pair in read_config_places(file).items()):
        if name in RENAMED:
            raise UserError(f"{path}: {name} is now {RENAMED[name]}")
        if name not in known:
            raise UserError(f"{path}: unknown option {name!r}; --help lists the options")
        given[name] = _Given(name, value, path)
    for name, value in vars(args).items():
        if name in known:
            given[name] = _Given(name, [Text(w) for w in value] if isinstance(value, list) else Text(value))
    builder = _Builder(given)
    try:
        objects = [builder.build(cls) for cls in classes]
        for name, value in given.items():
            if name not in builder.used:
                raise value.error(f"this is an option of {_owners(name, classes)}; leave it out, or choose that")
    except ValueError as error:
        parser.error(str(error))
    return objects, args


def make(cls: type, **values: Any) -> Any:
    """An object of `cls` from the values of its options, as the command line would make it.

    `make(ModelConfig, encoder="conformer", encoder_dim=256, vocab_size=500)`. Raises ValueError.
    """
    builder = _Builder({name: _Given(name, value) for name, value in values.items()})
    made = builder.build(cls)
    unknown = [name for name in values if name not in builder.used]
    if unknown:
        raise ValueError(f"{cls.__name__} has no option {', '.join(map(flag, unknown))} with these components")
    return made


def option_names(config: Any) -> set[str]:
    """The names of all options of an object, those of its components and inner dataclasses included."""
    names: set[str] = set()
    for f in fields(config):
        value = getattr(config, f.name)
        inner = value if isinstance(value, tuple) else (value,)
        if inner and all(is_dataclass(item) for item in inner):
            names = names.union(*(option_names(item) for item in inner))
        if "registry" in f.metadata or not is_dataclass(f.type):
            names.add(f.name)
    return names


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as a plain dictionary, for JSON; a component has its name as `name`."""
    values: dict[str, Any] = {"name": config.name} if hasattr(type(config), "name") else {}
    for f in fields(config):
        value = getattr(config, f.name)
        if isinstance(value, tuple) and value and all(is_dataclass(item) for item in value):
            values[f.name] = [to_dict(item) for item in value]
        else:
            values[f.name] = to_dict(value) if is_dataclass(value) else value
    return values


def from_dict(cls: type, values: Any, where: Any) -> Any:
    """Rebuild a dataclass that `to_dict` wrote; `where` names the file in the error."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: {cls.__name__}: expected an object, got {shown(values)}")
    values = {name: value for name, value in values.items() if name != "name" or not hasattr(cls, "name")}
    known = {f.name: f for f in fields(cls)}
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise UserError(f"{where}: {cls.__name__} has no {', '.join(unknown):.200}; it was written by another version")
    rebuilt = {name: _rebuild(known[name], value, where) for name, value in values.items()}
    try:
        return cls(**rebuilt)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {cls.__name__}: {error}") from None


def _rebuild(f: Field, value: Any, where: Any) -> Any:
    if "registry" in f.metadata:
        registry, many = f.metadata["registry"], f.metadata["many"]
        if many and not isinstance(value, list):
            raise UserError(f"{where}: {f.name}: expected a list, got {shown(value)}")
        configs = []
        for item in value if many else [value]:
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str) or name not in registry:
                raise UserError(
                    f"{where}: there is no {registry.kind} called {shown(name)}; there are {', '.join(registry)}"
                )
            configs.append(from_dict(registry.config(name), item, where))
        return tuple(configs) if many else configs[0]
    if is_dataclass(f.type):
        return from_dict(typing.cast(type, f.type), value, where)
    try:
        return convert(f, value)
    except ValueError as error:
        raise UserError(f"{where}: {f.name}: {error}") from None
