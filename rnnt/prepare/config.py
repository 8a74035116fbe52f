"""Options of `prepare.sh` and `run.sh`, each declared once, with its help and its default.

The programs of the stages (`local/`) take their options from the same dataclasses, by inheritance. A recipe changes
defaults in `conf/prepare.yaml` and `conf/run.yaml`, and adds options of its own in `local/options.py`. How the command
line of a script becomes variables of the shell: `rnnt.prepare.recipe.command_line`. Loads no heavy package.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rnnt.errors import UserError
from rnnt.names import check_set_names
from rnnt.options import default_of, make_field, option


def path_option(default: Any, help: str, choices: Sequence[Any] | None = None) -> Any:
    """An option whose value is a path, or words `NAME=PATH`: scripts read it from the folder where the user stands."""
    return make_field(default, {**option(default, help, choices).metadata, "path": True})


def num_cores() -> int:
    """Cores that this process may use; like `nproc`, fewer where OMP_NUM_THREADS says so."""
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if limit.isascii() and limit.isdigit() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class PrepareStages:
    """Stages."""

    stage: int | None = option(
        None, "run stage N and all later ones, done or not (default: only what is not done)", minimum=-1
    )
    stop_stage: int = option(100, "end after stage N", minimum=-1)


@dataclass(frozen=True)
class JobOptions:
    """Jobs."""

    nj: int = option(
        num_cores(),
        "jobs of stage 3, run by $decode_cmd of cmd.sh, and threads of other stages",
        minimum=1,
        maximum=10_000,
    )


@dataclass(frozen=True)
class HoldOutOptions:
    """How a corpus is imported."""

    hold_out: str = option(
        "", "NAME=SET:N makes a set NAME of N speakers of an imported SET, which loses them, such as dev=train:12"
    )
    allow_pipes: bool = option(False, "run the commands in wav.scp or in recordings of lhotse, once each")


@dataclass(frozen=True)
class ImportOptions(HoldOutOptions):
    """Import of a corpus in a common form."""

    # `import` is a keyword of Python; the option is --import.
    import_: list[str] = path_option(
        [],
        "NAME=PATH of each set, such as train=DIR dev=FILE.tsv test=FILE.jsonl: Kaldi data directories, tables, lhotse "
        "manifests; docs/new_corpus.md (default: those of last time)",
    )


@dataclass(frozen=True)
class TrainSetOptions:
    """Training set."""

    train_set: str = option(
        "", "set for training, tokens and statistics (default: the first whose name begins with train)"
    )


@dataclass(frozen=True)
class SetOptions(TrainSetOptions):
    """Sets."""

    sets: list[str] = option([], "names of all sets (default: those that stage 1 made)")


@dataclass(frozen=True)
class InputOptions:
    """Configurations and noise."""

    train_config: str = path_option(
        "conf/train.yaml",
        "configuration of the training; subsampling factor, vocabulary and place of blank are taken from it where it "
        "has them",
    )
    fbank_config: str = path_option("conf/fbank.yaml", "configuration of the front-end")
    noise: str = path_option("", "folder of recordings that training may mix in, in any format; empty: none")


@dataclass(frozen=True)
class FeatureOptions:
    """Features."""

    features: str = option(
        "stored", "stored: compute them in stage 3; onthefly: whenever they are needed", choices=["stored", "onthefly"]
    )


@dataclass(frozen=True)
class SpeedOptions(FeatureOptions):
    """Features."""

    perturb_speed: list[str] = option([], "speed factors, such as 0.9 1.1: a copy of the training set for each")


@dataclass(frozen=True)
class TokenOptions:
    """Tokens."""

    token_type: str = option(
        "bpe", "what a token is; char and file take no --vocab-size", choices=["bpe", "char", "file"]
    )
    token_list: str = path_option("", "list of the tokens of --token-type file, one per line; docs/new_corpus.md")
    blank: str = option(
        "first", "id of blank; last: after --vocab-size tokens without it, as MLPerf has it", choices=["first", "last"]
    )

    def __post_init__(self) -> None:
        if (self.token_type == "file") != bool(self.token_list):
            raise ValueError("--token-type file and --token-list FILE go together")


@dataclass(frozen=True)
class VocabularyOptions(TokenOptions):
    """Tokens."""

    vocab_size: list[int] = option(
        [], "numbers of tokens, special ones included; a model for each, the first is used", minimum=1
    )


def ngram_orders() -> Any:
    """`--ngram-order` of the scripts, which is `--order` of the program."""
    return option([2, 3], "orders of the n-grams of tokens; a model for each", minimum=1, maximum=5, nonempty=True)


@dataclass(frozen=True)
class NgramOptions:
    """Token n-grams."""

    ngram_order: list[int] = ngram_orders()


@dataclass(frozen=True)
class ValidationConfig:
    """Validation."""

    min_duration_utt: float = option(0.1, "shortest utterance in seconds", minimum=0)
    max_duration_utt: float = option(30.0, "longest utterance in seconds", above=0)
    subsampling_factor: int = option(
        4,
        "input frames per encoder frame, as the training has them: more tokens than encoder frames is a fault",
        minimum=1,
    )
    audio_sample: int = option(
        500, "utterances of each set, drawn at random, whose audio is measured for the corpus page", minimum=0
    )

    def __post_init__(self) -> None:
        if self.min_duration_utt > self.max_duration_utt:
            raise ValueError("--min-duration-utt can't be above --max-duration-utt")


# What prepare.sh accepts beside its stages and the options of the recipe; run.sh accepts them and passes them on.
PREPARATION = [
    InputOptions,
    SetOptions,
    SpeedOptions,
    VocabularyOptions,
    NgramOptions,
    ValidationConfig,
    JobOptions,
]


@dataclass(frozen=True)
class RunStages:
    """Stages."""

    stage: int = option(0, "first stage", minimum=-1)
    stop_stage: int = option(100, "last stage", minimum=-1)


@dataclass(frozen=True)
class RunTrainingOptions:
    """Training."""

    exp_dir: str = option("", "folder of the model and the results (default: exp/ and the name of the configuration)")
    world_size: int | None = option(
        None,
        "training processes, at most --micro-batches; the results are the same (default: as many as micro-batches "
        "where there are as many cores and no GPU, else 1)",
        minimum=1,
        maximum=1024,
    )
    micro_batches: int = option(1, "micro-batches that make one update, divided among the processes", minimum=1)
    dev_set: str = option("", "set to measure after each epoch (default: the first whose name begins with dev)")
    train_opts: str = option("", 'more options of train.py, such as "--num-epochs 3"')


@dataclass(frozen=True)
class RunDecodingOptions:
    """Decoding."""

    decode_sets: list[str] = option([], "sets to decode (default: all but the training set)")
    decode_methods: list[str] = option(
        ["greedy_search", "beam_search", "modified_beam_search"],
        "methods, each of which decodes all sets",
        nonempty=True,
    )
    beam_size: int = option(4, "hypotheses that a beam search keeps", minimum=1)
    decode_nj: int = option(1, "jobs that divide the decoding of each set", minimum=1, maximum=10_000)
    decode_opts: str = option("", "more options of decode.py")
    force: bool = option(False, "decode again what is newer than the model")


RUN = [RunTrainingOptions, RunDecodingOptions]


def to_arguments(options: Any, cls: type | None = None, leave_out: Sequence[str] = ()) -> list[str]:
    """The command line that gives a dataclass of options its values, without those that are defaults.

    Args:
        options: an object of an option dataclass.
        cls: a base of its class, whose fields and defaults count; None: its class.
        leave_out: names of fields that are not wanted.
    """
    words: list[str] = []
    for f in fields(cls or options):
        value = getattr(options, f.name)
        if value == default_of(f) or value is None or f.name in leave_out:
            continue
        flag = "--" + f.name.rstrip("_").replace("_", "-")
        if isinstance(value, list):
            words += [flag, *map(text_of, value)]
        elif text_of(value).startswith("-"):
            words.append(f"{flag}={text_of(value)}")
        else:
            words += [flag, text_of(value)]
    return words


def text_of(value: Any) -> str:
    """A value as a word of the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return " ".join(map(text_of, value))
    return "" if value is None else str(value)


def read_set_names(folder: str | Path) -> list[str]:
    """The sets that stage 1 made, from `folder/sets`."""
    path = Path(folder) / "sets"
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError:
        raise UserError(f"{path}: no such file; run ./prepare.sh --stage 1, or give --sets") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a list of sets; run ./prepare.sh --stage 1 again, or give --sets") from None
    check_set_names(names, path)
    if not names:
        raise UserError(f"{path}: the list of sets is empty; run ./prepare.sh --stage 1 again, or give --sets")
    return names


def resolve_sets(options: SetOptions, manifest_dir: str | Path) -> list[str]:
    """The names of all sets: those of `--sets`, or those that stage 1 made."""
    if not options.sets:
        return read_set_names(manifest_dir)
    check_set_names(options.sets, "--sets")
    return options.sets


def check_hold_out(values: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Refuse a --hold-out without --import: the sets of last time would stay as they are, without a word.

    Args:
        values: of all options.
        given: those that the user gave.
    """
    if "hold_out" in given and values["hold_out"] and "import_" in values and not values["import_"]:
        raise UserError("--hold-out divides what is imported; give --import again with it, or leave it out")


def check_sets_of_import(values: Mapping[str, Any]) -> None:
    """Refuse an import without a set to train on or to measure on, which a run would miss after hours.

    Args:
        values: of the options of run.sh.
    """
    words = values.get("import_") or []
    if not words or values.get("sets"):
        return
    names = [word.partition("=")[0] for word in words]
    if values.get("hold_out"):
        names.append(values["hold_out"].partition("=")[0])
    for prefix, asked, advice in (
        ("train", values.get("train_set"), "give --train-set"),
        ("dev", values.get("dev_set"), f"give --dev-set, or speakers of another set: --hold-out dev={names[0]}:N"),
    ):
        if asked and asked not in names:
            raise UserError(f"--{prefix}-set {asked}: --import has the sets {' '.join(names)}; choose one of them")
        if not asked and not any(name.startswith(prefix) for name in names):
            raise UserError(f"--import has the sets {' '.join(names)}, and none begins with {prefix}; {advice}")


def first_set(prefix: str, names: Sequence[str]) -> str:
    """The first name that begins with `prefix`."""
    for name in names:
        if name.startswith(prefix):
            return name
    raise UserError(f'none of the sets "{" ".join(names)}" begins with {prefix}; give --{prefix}-set')
