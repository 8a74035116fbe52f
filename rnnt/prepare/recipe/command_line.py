"""The command lines of `prepare.sh` and `run.sh`: from words, files and the training configuration to shell variables.

A script accepts the dataclasses of `rnnt.prepare.config` and those of the recipe's `local/options.py`. What is given on
the command line beats a file named by `--config`, that beats `conf/prepare.yaml` and `conf/run.yaml` of the recipe, and
those beat the defaults of the dataclasses.
"""

# No `from __future__ import annotations`: the classes made here need the evaluated types of their fields.

import dataclasses
import functools
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from rnnt.data.config import FeatureConfig
from rnnt.errors import UserError
from rnnt.options import make_field, make_parser, parse
from rnnt.prepare import config
from rnnt.prepare.config import PREPARATION, RUN, PrepareStages, RunStages, num_cores, text_of
from rnnt.prepare.recipe.facts import apply_facts, check_num_features, read_training_facts, read_values

CONFIG_HELP = {
    "prepare": "file of options, one name=value per line, or one `name: value` per line of a FILE.yaml",
    "run": "FILE.yaml: configuration of the training, as --train-config; another FILE: options, name=value per line",
}


class HelpRequest(Exception):
    """`--help` is among the words; the message is the help text."""


@dataclass(frozen=True)
class Script:
    """A script of a recipe.

    Attributes:
        path: its absolute path; stages run in its folder.
        caller: folder where the user stands.
    """

    path: Path
    caller: Path

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def recipe(self) -> Path:
        """The folder with path.sh: that of the script, or one above it."""
        for folder in self.path.parents:
            if (folder / "path.sh").is_file():
                return folder
        raise UserError(f"{self.path}: neither its folder nor one above it has path.sh")

    @property
    def is_run(self) -> bool:
        return self.path.stem == "run"

    def defaults(self, name: str) -> Path:
        """The file of the recipe's defaults for `prepare` or `run`, which need not exist."""
        beside = self.folder / f"{name}.yaml"
        return beside if beside.is_file() else self.folder / "conf" / f"{name}.yaml"

    def own_classes(self) -> list[type]:
        """Dataclasses of options that only this recipe has, from the list in its `local/options.py`.

        The list is PREPARE, or MLPERF_PREPARE for mlperf/prepare.sh. Without the file, the recipe imports its corpus.
        """
        path = self.recipe / "local" / "options.py"
        if not path.is_file():
            return [config.ImportOptions]
        spec = importlib.util.spec_from_file_location("recipe_options_of_a_recipe", path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        name = "prepare" if self.is_run else str(self.path.relative_to(self.recipe).with_suffix(""))
        return getattr(module, re.sub(r"\W", "_", name).upper())

    def description(self) -> str:
        """The comments at the head of the script and of what it shares with other recipes."""
        shared = Path(__file__).parents[3] / "utils" / ("experiment.sh" if self.is_run else "preparation.sh")
        return f"{head_comment(self.path)}\n{head_comment(shared)}"


def head_comment(path: Path) -> str:
    """The first block of comment lines of a shell file, without directives to the shell and to shellcheck."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(("#!", "# shellcheck")):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def with_defaults(cls: type, defaults: Mapping[str, Any]) -> type:
    """The same dataclass with other defaults of some fields."""
    changed: list[Any] = []
    for f in fields(cls):
        if f.name in defaults:
            value = defaults[f.name]
            # What the help says of the default was about the other one.
            help = re.sub(r" \(default: [^()]*\)$", "", f.metadata["help"])
            changed.append((f.name, f.type, make_field(value, {**f.metadata, "help": help})))
    made_class = dataclasses.make_dataclass(cls.__name__, changed, bases=(cls,), frozen=True)
    made_class.__doc__ = cls.__doc__
    return made_class


def read_words(words: Sequence[str], classes: Sequence[type]) -> dict[str, list[str]]:
    """`{option: its words}` of a command line, `config` included.

    `--foo-bar`, `--foo_bar` and `--foo-bar=VALUE` are accepted. An option takes one word, a list may take several.

    Raises:
        UserError: on an option that no class has, on a word that belongs to none, on a missing value.
        HelpRequest: without message, on `--help` or `-h`.
    """
    types = {f.name: f.type for cls in classes for f in fields(cls)}
    by_flag = {"config": "config", **{name.rstrip("_"): name for name in types}}
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("--help", "-h"):
            raise HelpRequest
        if not word.startswith("--") or word == "--":
            raise UserError(f"unexpected argument {word}; --help lists the options")
        flag, equals, value = word.partition("=")
        name = by_flag.get(flag[2:].replace("-", "_"), "")
        if not name:
            raise UserError(f"invalid option {flag}; --help lists the options")
        is_value = functools.partial(_is_value, by_flag=by_flag)
        if equals:
            found[name] = [value]
        elif types.get(name) is bool and not (rest and is_value(rest[0])):
            found[name] = ["true"]
        elif not rest:
            raise UserError(f"{flag} needs a value")
        elif not is_value(rest[0]):
            raise UserError(f"{flag} needs a value ({rest[0]} is an option; write {flag}={rest[0]} if you mean it)")
        else:
            found[name] = [rest.pop(0)]
            while _is_list(types.get(name)) and rest and not rest[0].startswith("-"):
                found[name].append(rest.pop(0))
    return found


def _is_value(word: str, by_flag: Mapping[str, str]) -> bool:
    return not (word.startswith("--") and word[2:].partition("=")[0].replace("-", "_") in {*by_flag, "help"})


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is list


def read_assignments(path: Path, classes: Sequence[type]) -> dict[str, list[str]]:
    """`{option: its words}` of a file of lines `name=value` as a shell reads them, or `name: value` in a YAML file."""
    if path.suffix in (".yaml", ".yml"):
        values = {name: [text_of(value)] for name, value in read_values(path).items()}
    else:
        values = {}
        try:
            text = path.read_text(encoding="utf-8")
        except OSError:
            raise UserError(f"--config {path}: can't read this file") from None
        for number, line in enumerate(text.splitlines(), 1):
            try:
                words = shlex.split(line, comments=True)
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}") from None
            if words and (len(words) > 1 or "=" not in words[0]):
                raise UserError(f"{path}:{number}: expected name=value, with quotes around a value that has blanks")
            name, _, value = words[0].partition("=") if words else ("", "", "")
            if name.replace("-", "_") in {known.replace("-", "_") for known in values}:
                raise UserError(f"{path}:{number}: {name} is there already; remove one")
            if words:
                values[name] = [value]
    names = {f.name.rstrip("_"): f.name for cls in classes for f in fields(cls)}
    for name in values:
        if name.replace("-", "_") not in names:
            raise UserError(f"{path}: invalid option {name}; --help lists the options")
    return {names[name.replace("-", "_")]: value for name, value in values.items()}


def make_objects(words: Mapping[str, list[str]], classes: Sequence[type], location: str = "") -> list[Any]:
    """Objects of the dataclasses from the words of each option.

    Raises:
        UserError: on a value of the wrong type, and on values that contradict each other; begins with `location`.
    """
    types = {f.name: f.type for cls in classes for f in fields(cls)}
    argv: list[str] = []
    for name, values in words.items():
        flag = "--" + name.replace("_", "-")
        if _is_list(types[name]):
            argv += [flag, *values]
        else:
            argv.append(f"{flag}={values[0]}")
    parser = make_parser(None, *classes)

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{location}: {message}" if location else message)

    parser.error = refuse  # type: ignore[method-assign]
    return parse(parser, classes, argv)[0]


def help_text(script: Script, classes: Sequence[type]) -> str:
    """What `--help` shows: the comment at the head of the script, and the options with the defaults of this recipe."""
    parser = make_parser(script.description(), *classes)
    parser.usage = f"{script.path.name} [options]"
    for action in parser._actions:
        if action.dest == "config":
            action.help = CONFIG_HELP["run" if script.is_run else "prepare"]
    text = parser.format_help().replace("usage: ", "Usage: ", 1)
    for name in (f.name for cls in classes for f in fields(cls) if f.name.endswith("_")):
        text = text.replace(f"--{name[:-1]}- ", f"--{name[:-1]} ")  # --import is the option of the field `import_`
    return text


def from_caller(path: str, script: Script) -> str:
    """A path as seen from where the user stands, if it exists there, else unchanged."""
    if path and script.caller != script.folder and not path.startswith("/") and (script.caller / path).exists():
        return str(script.caller / path)
    return path


def _resolve_paths(values: dict[str, Any], given: Mapping[str, str], classes: Sequence[type], script: Script) -> None:
    for f in (f for cls in classes for f in fields(cls)):
        if f.name not in given or not f.metadata.get("path"):
            continue
        if isinstance(values[f.name], str):
            values[f.name] = from_caller(values[f.name], script)
        else:
            pairs = (word.partition("=") for word in values[f.name])
            values[f.name] = [f"{name}{equals}{from_caller(path, script)}" for name, equals, path in pairs]


@dataclass(frozen=True)
class Settings:
    """The options of a call of a script.

    Attributes:
        values: `{option: value}`, complete.
        given: `{option: location}` of those that the user gave.
        preparation: classes of the preparation; own: the others of the script.
    """

    values: dict[str, Any]
    given: dict[str, str]
    preparation: list[type]
    own: Sequence[type]

    def objects(self) -> list[Any]:
        classes = [*self.preparation, *self.own]
        return [cls(**{f.name: self.values[f.name] for f in fields(cls)}) for cls in classes]


def read_settings(script: Script, words: Sequence[str]) -> Settings:
    """The options of a call, with the facts of the training configuration.

    Raises:
        UserError: on an option or a value that is not valid, and on contradictions.
        HelpRequest: with the help text.
    """
    preparation = [*script.own_classes(), *PREPARATION]
    own: list[type] = [RunStages, *RUN] if script.is_run else [PrepareStages]
    defaults = _read_defaults(script.defaults("prepare"), preparation if script.is_run else [*own, *preparation])
    if script.is_run:
        defaults.update(_read_defaults(script.defaults("run"), own))
    classes = _with_all_defaults([*own, *preparation], defaults)
    try:
        on_line = read_words(words, classes)
    except HelpRequest:
        values = _values_of(make_objects({}, classes))
        facts = {name: value for name, value in _with_facts(values, {}, script).items() if value != values[name]}
        raise HelpRequest(help_text(script, _with_all_defaults(classes, facts))) from None
    from_file: dict[str, list[str]] = {}
    file = on_line.pop("config", [""])[0]
    if script.is_run and file.endswith((".yaml", ".yml")):
        on_line["train_config"] = [file]
    elif file:
        from_file = read_assignments(Path(file), classes)
    given = {**dict.fromkeys(from_file, file), **{name: "--" + name.replace("_", "-") for name in on_line}}
    objects = make_objects({**from_file, **on_line}, classes)
    values = _values_of(objects)
    _resolve_paths(values, given, classes, script)
    values = _with_facts(values, given, script)
    config.check_hold_out(values, given)
    if script.is_run and values["stop_stage"] >= 1:
        config.check_sets_of_import(values)
    return Settings(values, given, preparation, own)


def _with_all_defaults(classes: Sequence[type], defaults: Mapping[str, Any]) -> list[type]:
    return [with_defaults(cls, {k: v for k, v in defaults.items() if k in _names(cls)}) for cls in classes]


def _values_of(objects: Sequence[Any]) -> dict[str, Any]:
    return {f.name: getattr(item, f.name) for item in objects for f in fields(item)}


def _names(cls: type) -> set[str]:
    return {f.name for f in fields(cls)}


def _read_defaults(path: Path, classes: Sequence[type]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    words = read_assignments(path, classes)
    objects = make_objects(words, classes, str(path))
    return {name: getattr(item, name) for item in objects for name in _names(type(item)) & set(words)}


def _with_facts(values: dict[str, Any], given: Mapping[str, str], script: Script) -> dict[str, Any]:
    path = values["train_config"]
    if not path or ("train_config" not in given and not (script.folder / path).is_file()):
        return values
    facts = read_training_facts(path, script.folder)
    values = apply_facts(values, given, facts)
    if (script.folder / values["fbank_config"]).is_file():
        default = FeatureConfig().num_mel_bins
        check_num_features(facts, str(script.folder / values["fbank_config"]), default)
    return values


def lang_dirs(values: Mapping[str, Any]) -> list[str]:
    """The folders of the tokens that stage 5 makes; the first is what the training takes."""
    if values["token_type"] == "bpe":
        return [f"data/lang_bpe_{size}" for size in values["vocab_size"]]
    return [f"data/lang_{values['token_type']}"]


def choose_world_size(micro_batches: int) -> int:
    """As many processes as micro-batches where there are as many cores and no GPU, else one."""
    if num_cores() < micro_batches:
        return 1
    has_gpu = False
    if shutil.which("nvidia-smi"):
        has_gpu = subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0
    return 1 if has_gpu else micro_batches


def shell_text(settings: Settings, is_run: bool) -> str:
    """Assignments for `eval`: a variable for each option, an array for each dataclass, and what follows from them.

    The array `token_options` of `TokenOptions` holds what differs from the defaults of the class, as options of the
    program that has this class among its bases.
    """
    values = dict(settings.values)
    variables: dict[str, Any] = {}
    if is_run:
        values["exp_dir"] = values["exp_dir"] or f"exp/{Path(values['train_config']).stem}"
        values["world_size"] = values["world_size"] or choose_world_size(values["micro_batches"])
    variables.update({name.rstrip("_"): text_of(value) for name, value in values.items()})
    lines = [f"{name}={shlex.quote(text)}" for name, text in variables.items()]
    langs = lang_dirs(values)
    if not langs:
        raise UserError("--vocab-size needs at least one number")
    arrays = {"langs": langs}
    if is_run:
        names = {name for cls in settings.preparation for name in _names(cls)} & set(settings.given)
        passed = {name: values[name] for name in sorted(names | {"train_config"})}
        arrays["prepare_options"] = [
            f"--{name.rstrip('_').replace('_', '-')}={text_of(value)}" for name, value in passed.items()
        ]
    for item in settings.objects():
        for base in type(item).__mro__:
            if dataclasses.is_dataclass(base):
                arrays[array_name(base)] = config.to_arguments(item, base)
    lines += [f"{name}=({shlex.join(words)})" for name, words in arrays.items()]
    return "\n".join(lines) + "\n"


def array_name(cls: type) -> str:
    """`TokenOptions` -> `token_options`, `ValidationConfig` -> `validation_options`."""
    stem = re.sub(r"(Options|Config)$", "", cls.__name__)
    return re.sub(r"(?<!^)(?=[A-Z])", "_", stem).lower() + "_options"


def command_line(script: Script, words: Sequence[str]) -> str:
    """What the shell evaluates after a call of a script with these words; prints the help if that is asked for."""
    try:
        settings = read_settings(script, words)
    except HelpRequest as request:
        print(request, file=sys.stderr)
        return "exit 0\n"
    return shell_text(settings, script.is_run)
