"""The command lines of prepare.sh and run.sh: options, files of options, defaults, and what the shell gets."""

import re
import subprocess

import pytest

from rnnt.errors import UserError
from rnnt.prepare.config import TokenOptions, ValidationConfig, VocabularyOptions, to_arguments
from rnnt.prepare.recipe.command_line import HelpRequest, Script, command_line, read_settings

OWN = """
from dataclasses import dataclass
from rnnt.prepare.config import ImportOptions, path_option
from rnnt.options import option

@dataclass(frozen=True)
class PlaceOptions:
    \"\"\"Place.\"\"\"
    dl_dir: str = path_option("", "where it is (default: that of last time)")
    parts: list[str] = option(["a", "b"], "parts")

PREPARE = [PlaceOptions, ImportOptions]
JOBS_PREPARE = [PlaceOptions]
"""


@pytest.fixture
def recipe(tmp_path):
    recipe = tmp_path / "recipe"
    files = {
        "path.sh": "",
        "local/options.py": OWN,
        "conf/prepare.yaml": "# Defaults\nvocab_size: 30\nperturb_speed: 0.9 1.1\ndl_dir: /there\n",
        "conf/run.yaml": "micro_batches: 2\ndecode_opts: --avg 2 --threads 1\n",
        "conf/train.yaml": "subsampling_factor: 8\n",
        "prepare.sh": "#!/bin/bash\n# Prepares it.\n#\n# Stages:\n#   0 corpus\n# shellcheck x\nset -e\n# Not help.\n",
        "run.sh": "#!/usr/bin/env bash\n# Trains it.\nset -e\n",
        "jobs/prepare.sh": "# Other jobs.\n",
        "jobs/prepare.yaml": "stop_stage: 6\n",
    }  # fmt: skip
    for name, text in files.items():
        (recipe / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe / name).write_text(text)
    return recipe


def settings(recipe, *words, script="prepare.sh", caller=None):
    return read_settings(Script(recipe / script, caller or recipe), words)


def in_bash(recipe, words, show, script="prepare.sh"):
    """What `printf` of bash shows of variables after the assignments."""
    text = command_line(Script(recipe / script, recipe), words)
    command = f"set -eu\n{text}printf '%s|' {show}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.split("|")[:-1]


def test_command_line_beats_file_beats_recipe_beats_class(recipe, tmp_path):
    values = settings(recipe).values
    assert (values["vocab_size"], values["perturb_speed"], values["ngram_order"]) == ([30], ["0.9", "1.1"], [2, 3])
    assert (values["dl_dir"], values["parts"], values["stage"], values["stop_stage"]) == (
        "/there",
        ["a", "b"],
        None,
        100,
    )
    config = tmp_path / "my.conf"
    config.write_text("# mine\nvocab_size='40 50'  # two\nstop_stage=3\n\nparts=c\n")
    values = settings(recipe, "--stop-stage", "4", "--config", str(config)).values
    assert (values["vocab_size"], values["stop_stage"], values["parts"]) == ([40, 50], 4, ["c"])


def test_lists_are_one_word_or_several(recipe):
    for words in (["--vocab-size", "60 40"], ["--vocab-size", "60", "40"], ["--vocab_size=60 40"]):
        assert settings(recipe, *words, "--stage", "-1").values["vocab_size"] == [60, 40]
    assert settings(recipe, "--perturb-speed", "").values["perturb_speed"] == []


@pytest.mark.parametrize(
    "words, part",
    [
        (["--no-such", "1"], "invalid option --no-such; --help"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "--stage", "1"], "--nj needs a value"),
        (["--nj", "x"], "argument --nj: expected int, got 'x'"),
        (["--nj", "0"], "argument --nj: must be from 1 to 10000, not 0"),
        (["--blank", "middle"], "--blank"),
        (["--allow-pipes", "3"], "--allow-pipes"),
        (["word"], "unexpected argument word"),
        (["--token-type", "file"], "go together"),
        (["--config", "missing.conf"], "missing.conf: can't read"),
        (["--train-config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_bad_words_are_refused_in_one_line(recipe, words, part):
    with pytest.raises(UserError) as error:
        settings(recipe, *words)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_bad_files_are_named(recipe, tmp_path):
    for text, part in (
        ("nosuch=1\n", "my.conf: invalid option nosuch"),
        ("nj 3\n", "my.conf:1: expected name=value"),
        ("vocab_size=30\nnj=2\nvocab-size=40\n", "my.conf:3: vocab-size is there already"),
    ):
        (tmp_path / "my.conf").write_text(text)
        with pytest.raises(UserError, match=part):
            settings(recipe, "--config", str(tmp_path / "my.conf"))
    (recipe / "conf/prepare.yaml").write_text("vocab_size: many\n")
    with pytest.raises(UserError, match="conf/prepare.yaml: .*--vocab-size"):
        settings(recipe)


def test_paths_are_those_of_the_user(recipe, tmp_path):
    for name in ("corpus", "my.yaml"):
        (tmp_path / name).mkdir()
    words = ["--dl-dir", "corpus", "--import", "train=corpus dev=conf/x test=/abs", "--fbank-config", "my.yaml"]
    values = settings(recipe, *words, "--noise", "true", caller=tmp_path).values
    assert values["dl_dir"] == f"{tmp_path}/corpus" and values["fbank_config"] == f"{tmp_path}/my.yaml"
    assert values["import_"] == [f"train={tmp_path}/corpus", "dev=conf/x", "test=/abs"] and values["noise"] == "true"
    (recipe / "here").mkdir()
    assert settings(recipe, "--dl-dir", "here").values["dl_dir"] == "here"


def test_facts_of_the_training_reach_the_preparation(recipe):
    assert settings(recipe).values["subsampling_factor"] == 8
    assert settings(recipe, "--train-config", "").values["subsampling_factor"] == 4
    with pytest.raises(UserError, match="is 6 and subsampling_factor is 8 in conf/train.yaml"):
        settings(recipe, "--subsampling-factor", "6")
    (recipe / "conf/other.yaml").write_text("subsampling_factor: 6\nvocab_size: 50\n")
    run = settings(recipe, "--config", "conf/other.yaml", script="run.sh")
    assert run.values["subsampling_factor"] == 6 and run.values["vocab_size"] == [50]
    (recipe / "conf/train.yaml").unlink()
    assert settings(recipe).values["subsampling_factor"] == 4


@pytest.mark.parametrize(
    "options, shown",
    [
        (
            "--subsampling-factor 4",
            "--subsampling-factor 4 and the data are prepared for 8; write subsampling_factor: 4",
        ),
        ("--threads 1 --vocab-size=500", "--vocab-size 500 and the data are prepared for 30"),
        ("--blank-id 29", "--blank-id 29 and the data are prepared for 0"),
        ("--config other.yaml", "use --train-config"),
    ],
)
def test_options_of_train_that_contradict_the_data_are_refused(recipe, options, shown):
    sets = ["--import", "train=a dev=b"]
    with pytest.raises(UserError, match=shown):
        settings(recipe, *sets, f"--train-opts={options}", script="run.sh")
    agreeing = "--subsampling-factor=8 --vocab-size 30 --blank-id 0 --num-epochs 3"
    assert settings(recipe, *sets, f"--train-opts={agreeing}", script="run.sh").values["train_opts"] == agreeing


def test_values_reach_the_shell_unharmed(recipe):
    value = """it's "$HOME" `id` * \\n"""
    shown = in_bash(
        recipe, ["--dl-dir", value, "--vocab-size", "60 40"], '"$dl_dir" "$vocab_size" "$stage" "${langs[@]}"'
    )
    assert shown == [value, "60 40", "", "data/lang_bpe_60", "data/lang_bpe_40"]
    words = ["--import", "train=a dev=b", "--allow-pipes", "true", "--blank", "last", "--token-type", "char"]
    show = '"$import" "${hold_out_options[@]}" "${token_options[@]}" "${validation_options[@]}" "$langs"'
    assert in_bash(recipe, words, show) == [
        "train=a dev=b", "--allow-pipes", "true", "--token-type", "char", "--blank", "last", "--subsampling-factor",
        "8", "data/lang_char",
    ]  # fmt: skip


def test_run_passes_on_what_was_given(recipe, tmp_path):
    (tmp_path / "my.conf").write_text("nj=3\n")
    words = [
        "--vocab-size",
        "60 40",
        "--config",
        str(tmp_path / "my.conf"),
        "--train-opts",
        "--num-epochs 3",
        "--stage",
        "0",
    ]
    shown = in_bash(recipe, words, '"$exp_dir" "$micro_batches" "$train_opts" "${prepare_options[@]}"', "run.sh")
    assert shown == [
        "exp/train",
        "2",
        "--num-epochs 3",
        "--nj=3",
        "--train-config=conf/train.yaml",
        "--vocab-size=60 40",
    ]
    show = '"${run_decoding_options[@]}"'
    assert in_bash(recipe, [], show, "run.sh") == ["--decode-opts=--avg 2 --threads 1"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--import", "train=a test=b"], "none begins with dev; give --dev-set, or speakers"),
        (["--import", "tr=a dev=b"], "--import has the sets tr dev, and none begins with train; give --train-set"),
        (["--import", "train=a dev=b", "--dev-set", "valid"], "--dev-set valid: --import has the sets train dev;"),
        (["--import", "train=a test=b", "--dev-set", "test"], None),
        (["--import", "train=a test=b", "--hold-out", "dev=train:3"], None),
    ],
)  # fmt: skip
def test_a_run_without_a_set_to_measure_on_is_refused_before_the_preparation(recipe, words, message):
    if message is None:
        settings(recipe, *words, script="run.sh")
    else:
        with pytest.raises(UserError, match=re.escape(message)):
            settings(recipe, *words, script="run.sh")
        settings(recipe, *[w for w in words if w not in ("--dev-set", "valid")])  # prepare.sh alone needs none


def test_a_division_of_nothing_is_refused(recipe):
    with pytest.raises(UserError, match="--hold-out divides what is imported; give --import again"):
        settings(recipe, "--hold-out", "dev=train:3")
    settings(recipe, "--hold-out", "dev=train:3", "--import", "train=a")


def test_help_shows_the_comment_and_the_defaults_of_the_recipe(recipe, capsys):
    with pytest.raises(HelpRequest) as request:
        settings(recipe, "--nj", "3", "-h")
    text = str(request.value)
    assert text.startswith("Usage: prepare.sh [options]\n\nPrepares it.\n\nStages:\n  0 corpus\n  2 noise")
    assert "Not help" not in text and "shellcheck" not in text
    words = " ".join(text.split())
    assert (
        "a model for each, the first is used (at least 1, default: 30)" in words
        and "where it is (default: /there)" in words
    )
    assert "a fault (at least 1, default: 8)" in words and "--import [TEXT ...] NAME=PATH" in words
    assert command_line(Script(recipe / "run.sh", recipe), ["--help"]) == "exit 0\n"
    assert "Trains it." in capsys.readouterr().err


def test_a_script_in_a_folder_of_the_recipe(recipe):
    found = settings(recipe, script="jobs/prepare.sh").values
    assert found["stop_stage"] == 6 and "import_" not in found and found["parts"] == ["a", "b"]


def test_arguments_are_what_is_no_default():
    assert to_arguments(ValidationConfig()) == []
    assert to_arguments(ValidationConfig(max_duration_utt=40.0)) == ["--max-duration-utt", "40.0"]
    options = VocabularyOptions(blank="last", vocab_size=[60, 40])
    assert to_arguments(options) == ["--blank", "last", "--vocab-size", "60", "40"]
    assert to_arguments(options, TokenOptions) == ["--blank", "last"]
    assert to_arguments(options, leave_out=["blank"]) == ["--vocab-size", "60", "40"]
