"""Options of the programs, declared once as frozen dataclasses beside the component they configure.

A field is `name: type = option(default, "help")`. From the dataclasses a program gets its `argparse` parser (field
`max_duration` is `--max-duration`), reads `--config FILE` (YAML, one `option: value` a line, underscores or hyphens),
and builds the objects; the command line beats the file, the file beats the default. Loads no heavy package.
"""

import argparse
import contextlib
import dataclasses
import typing
from dataclasses import MISSING, field, fields
from pathlib import Path

from rnnt.errors import UserError


def option(default=MISSING, help="", choices=None):
    """A dataclass field with a help text. Without a default the option is required."""
    metadata = {"help": help, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def str_to_bool(text):
    """`true`, `yes`, `on`, `1` and their opposites, as icefall's options accept them."""
    if isinstance(text, bool):
        return text
    lowered = text.lower()
    if lowered in ("true", "yes", "on", "1", "t", "y"):
        return True
    if lowered in ("false", "no", "off", "0", "f", "n"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _value_type(annotation):
    """The scalar type of an annotation and whether it is a list: `int | None` -> int, `list[str]` -> str."""
    if typing.get_origin(annotation) is list:
        return typing.get_args(annotation)[0], True
    scalars = [a for a in typing.get_args(annotation) if a is not type(None)]
    return (scalars[0] if scalars else annotation), False


def add_options(parser, *classes):
    """Add the fields of each dataclass to `parser`, a group a class titled by the docstring's first line."""
    for cls in classes:
        title = (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
        group = parser.add_argument_group(title)
        for f in fields(cls):
            value_type, is_list = _value_type(f.type)
            default = f.default_factory() if f.default_factory is not MISSING else f.default
            # Options left out are absent from the namespace, so that --config can fill them.
            keywords = {"default": argparse.SUPPRESS, "choices": f.metadata.get("choices")}
            if not keywords["choices"]:
                keywords["metavar"] = {int: "N", float: "X"}.get(value_type, "TEXT")
            text = f.metadata.get("help", "").replace("%", "%%")
            shown = " ".join(map(str, default)) if is_list and default is not MISSING else default
            if value_type is bool:
                keywords.update(type=str_to_bool, nargs="?", const=True, metavar="true|false")
                shown = str(default).lower()
            else:
                keywords.update(type=value_type, **({"nargs": "*"} if is_list else {}))
            if default is MISSING:
                text += " (required)"
            elif default is not None and shown != "":
                text += f" (default: {shown})"
            group.add_argument("--" + f.name.replace("_", "-"), help=text, **keywords)


def make_parser(description, *classes):
    """A parser with `--config` and the options of `classes`. Abbreviated options are refused: they age badly."""
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file of options; the command line beats it")
    add_options(parser, *classes)
    return parser


def read_config(path):
    """`{option: value}` of a YAML file, names with underscores."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"{path}: can't read the configuration: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected lines of `option: value`")
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def _checked(path, f, value):
    """A value from a file, held to the same rules as one from the command line."""
    value_type, is_list = _value_type(f.type)
    choices = f.metadata.get("choices")
    items = value if is_list and isinstance(value, list) else [value]
    out = []
    for item in items:
        if item is None and f.default is None:
            return None
        if value_type is float and isinstance(item, (int, float, str)) and not isinstance(item, bool):
            with contextlib.suppress(ValueError):
                item = float(item)
        if value_type is str and isinstance(item, (int, float)) and not isinstance(item, bool):
            item = str(item)
        if type(item) is not value_type:
            raise UserError(f"{path}: {f.name}: expected {value_type.__name__}, got {item!r}")
        if choices and item not in choices:
            raise UserError(f"{path}: {f.name}: {item!r} is not one of {', '.join(map(str, choices))}")
        out.append(item)
    return out if is_list else out[0]


def parse(parser, classes, argv=None):
    """Parse `argv` and return `(objects, namespace)`, one object a dataclass of `classes`, in their order.

    Exits with status 2 and the usage on an unknown option or a bad value; raises `UserError` on a bad `--config`.
    """
    args = parser.parse_args(argv)
    given = {k: v for k, v in vars(args).items() if k != "config"}
    if args.config:
        known = {f.name: f for cls in classes for f in fields(cls)}
        from_file = read_config(args.config)
        for name, value in from_file.items():
            if name not in known:
                raise UserError(f"{args.config}: unknown option {name!r}; --help lists the options")
            from_file[name] = _checked(args.config, known[name], value)
        given = {**from_file, **given}
    objects = []
    for cls in classes:
        values = {f.name: given[f.name] for f in fields(cls) if f.name in given}
        missing = [
            f.name
            for f in fields(cls)
            if f.name not in values and f.default is MISSING and f.default_factory is MISSING
        ]
        if missing:
            parser.error("these options are required: " + ", ".join("--" + m.replace("_", "-") for m in missing))
        try:
            objects.append(cls(**values))
        except ValueError as error:
            parser.error(str(error))
    return objects, args


def to_dict(config):
    """A dataclass as a plain dictionary, for JSON."""
    return dataclasses.asdict(config)


def from_dict(cls, values, where):
    """Rebuild a dataclass that `to_dict` wrote; `where` names the file in the error."""
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"{where}: {cls.__name__} has no {', '.join(unknown)}; it was written by another version")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {cls.__name__}: {error}") from None
