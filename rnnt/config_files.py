"""Configuration files: YAML, one `option: value` per line, with underscores or hyphens. Loads no heavy package."""

from pathlib import Path
from typing import Any

from rnnt.errors import UserError, one_line
from rnnt.option_values import shown

# Options whose file is named as seen from the configuration file that names it.
BESIDE = ("front_end",)


def read_config(path: str | Path) -> dict[str, Any]:
    """`{option: value}` of a YAML file, names with underscores.

    `base: FILE`, seen from the file, names another one whose values count where this one has none.
    """
    return {name: value for name, (value, _) in read_config_places(path).items()}


def read_config_places(path: str | Path) -> dict[str, tuple[Any, Path]]:
    """`{option: (value, file that holds it)}` of a YAML file and those that it is based on; raises `UserError`."""
    return _read(Path(path), [])


def _read(path: Path, readers: list[Path]) -> dict[str, tuple[Any, Path]]:
    """`readers`: the files that named this one as their base."""
    values = _load(path, f", the base of {readers[-1]}" if readers else "")
    own = {name.replace("-", "_"): (value, path) for name, value in values.items()}
    for name in ("base", *BESIDE):
        named = own.get(name, ("", path))[0]
        if not isinstance(named, str) or "\0" in named:
            raise UserError(f"{path}: {name}: expected the name of a file, got {shown(named)}")
    own.update({name: (str(path.parent / own[name][0]), path) for name in BESIDE if own.get(name, [""])[0]})
    if "base" not in own:
        return own
    base = path.parent / own.pop("base")[0]
    if _real(base) in map(_real, (*readers, path)):
        raise UserError(f"{path}: base: {base} is based on this file; remove one of the two lines")
    return {**_read(base, [*readers, path]), **own}


def _load(path: Path, role: str) -> dict[str, Any]:
    import yaml

    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        _check_keys(node, path)
        values = loader.construct_document(node) if node is not None else None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: can't read the configuration{role}: {error.strerror}") from None
    except Exception as error:  # PyYAML lets out what int(), datetime and its own tables raise
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected lines of `option: value`")
    for name in values:
        if not isinstance(name, str):
            raise UserError(f"{path}: unknown option {shown(name)}; --help lists the options")
    return values


def _check_keys(node: Any, path: Path) -> None:
    """Raise `UserError` where a document has an option twice: YAML's readers take the last without a word."""
    lines: dict[str, int] = {}
    for key, _ in node.value if node is not None and node.id == "mapping" else ():
        name = str(key.value).replace("-", "_") if key.id == "scalar" else ""
        number = key.start_mark.line + 1
        if name and lines.setdefault(name, number) != number:
            raise UserError(f"{path}:{number}: {key.value} is there already, in line {lines[name]}; remove one")


def _real(path: Path) -> Path | str:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links, which reading names
        return str(path)
