"""All recipes have the same shape: path.sh, cmd.sh, stage numbers, help texts."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from rnnt.config_files import read_config
from rnnt.data.config import FeatureConfig
from rnnt.options import make_parser
from rnnt.options import parse as parse_options
from rnnt.prepare.config import PREPARATION, RUN, PrepareStages, RunStages, text_of
from rnnt.prepare.recipe.command_line import Script, read_settings, shell_text
from rnnt.training.config import Options

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "utils"))

from launch import command_line, conf  # noqa: E402

# By the folder of configurations, so that a recipe without its scripts fails below and is not passed over.
RECIPES = sorted(p.parent for p in (ROOT / "egs").glob("*/*/conf"))
SCRIPTS = [folder / script for folder in RECIPES for script in ("run.sh", "prepare.sh")]

CONFIGS = [
    path
    for folder in RECIPES
    for path in sorted((folder / "conf").glob("*.yaml"))
    if path.name not in ("prepare.yaml", "run.yaml")
]
# Values of options that don't take 7, or contradict a default with it.
VALUES = {
    "allow_pipes": "true", "import_": "train=x dev=y", "features": "onthefly", "token_type": "char", "blank": "first",
    "train_config": "", "subsampling_factor": "8", "token_list": "", "min_duration_utt": "7.0",
    "max_duration_utt": "7.0", "ngram_order": "4",
}  # fmt: skip


def name(path):
    return str(path.relative_to(ROOT))


def parts(script):
    """The text of a script, and those of what it shares with the other recipes."""
    text = script.read_text()
    names = re.findall(r"utils/(import_corpus|preparation|experiment)\.sh", text)
    return [text, *((ROOT / "utils" / f"{name}.sh").read_text() for name in names)]


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
@pytest.mark.parametrize("file", ["path.sh", "cmd.sh", "conf/slurm.conf", "conf/queue.conf"])
def test_what_a_site_changes_is_committed_alike(recipe, file, committed):
    assert committed(recipe / file) == committed(RECIPES[0] / file)


@pytest.mark.parametrize("backend", ["", "local", "slurm", "sge", "ssh", "none"])
def test_cmd_sh_chooses_a_launcher_that_takes_its_options(backend, tmp_path, committed):
    (tmp_path / "cmd.sh").write_bytes(committed(RECIPES[0] / "cmd.sh"))
    script = f'cmd_backend={backend}; . {tmp_path}/cmd.sh && printf \'%s\\n\' "$train_cmd" "$decode_cmd"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    if backend == "none":
        assert result.returncode == 1 and 'got "none"' in result.stderr
        return
    commands = [line.split() for line in result.stdout.splitlines()]
    launcher = {"slurm": "slurm.pl", "sge": "queue.pl", "ssh": "ssh.pl"}.get(backend, "run.pl")
    assert [words[0] for words in commands] == [launcher] * 2
    for words in commands:
        request = command_line.parse(launcher, [*words[1:], "--max-jobs-run", "3", "a.log", "true"])
        conf_file = {"slurm": "slurm.conf", "sge": "queue.conf"}.get(backend)
        if conf_file:
            text = committed(RECIPES[0] / "conf" / conf_file).decode()
            assert conf.parse(text, conf_file).arguments(request, skip={"max_jobs_run"})


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_preparation_has_the_stages_of_every_recipe(recipe):
    texts = parts(recipe / "prepare.sh")
    calls = [re.findall(r"^ *(?:skip_)?stage (\d) ", text, re.MULTILINE) for text in texts]
    assert sorted(set(sum(calls, []))) == list("01234567")
    assert all(numbers == sorted(numbers) for numbers in calls)


def classes_of(script):
    return [
        *Script(script, ROOT).own_classes(),
        *PREPARATION,
        *((RunStages, *RUN) if script.stem == "run" else (PrepareStages,)),
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_help_names_every_option_and_needs_no_environment(script, tmp_path):
    options = [f.name.rstrip("_") for cls in classes_of(script) for f in fields(cls)]
    assert {"subsampling_factor", "fbank_config", "blank", "max_duration_utt", "sets", "stage"} <= set(options)
    (tmp_path / "python3").symlink_to(sys.executable)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "RNNT_VENV": str(tmp_path / "none")}
    for word in ("--help", "-h"):
        result = subprocess.run([script, word], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert result.returncode == 0, result.stderr
        missing = [o for o in options if f"--{o.replace('_', '-')} " not in result.stderr]
        assert missing == [] and "--config FILE" in result.stderr
        for number in "0123" if script.stem == "run" else "01234567":
            assert re.search(rf"^  {number} \w", result.stderr, re.MULTILINE)


def test_help_without_python_is_one_line(tmp_path):
    for program in ("dirname", "bash"):
        (tmp_path / program).symlink_to(shutil.which(program))
    environment = {"PATH": str(tmp_path), "RNNT_VENV": str(tmp_path / "none")}
    result = subprocess.run([SCRIPTS[0], "--help"], capture_output=True, text=True, env=environment)
    assert result.returncode == 1 and result.stderr.count("\n") == 1 and "needs Python 3.10" in result.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_bad_options_are_refused(script):
    for arguments, part in ((["--no-such-option", "1"], "invalid option"), (["word"], "unexpected argument word")):
        result = subprocess.run([script, *arguments], capture_output=True, text=True)
        assert result.returncode == 1 and part in result.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
@pytest.mark.parametrize("script", ["prepare", "run"])
def test_defaults_of_the_recipe_are_read(recipe, script):
    path = recipe / "conf" / f"{script}.yaml"
    settings = read_settings(Script(recipe / f"{script}.sh", ROOT), [])
    if path.is_file():
        for option, value in read_config(path).items():
            assert text_of(settings.values[option]) == str(value)


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_run_passes_every_option_of_the_preparation_on(recipe):
    for cls in [*Script(recipe / "run.sh", ROOT).own_classes(), *PREPARATION]:
        for f in fields(cls):
            flag, value = "--" + f.name.rstrip("_").replace("_", "-"), VALUES.get(f.name, "7")
            imported = ["--import", VALUES["import_"]] if f.name == "hold_out" else []
            settings = read_settings(Script(recipe / "run.sh", ROOT), [flag, value, *imported])
            text = shell_text(settings, is_run=True)
            (line,) = [line for line in text.splitlines() if line.startswith("prepare_options=")]
            assert f"{flag}={value}" in shlex.split(line[len("prepare_options=(") : -1])


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_configurations_are_read(config):
    classes = [FeatureConfig] if config.name.startswith("fbank") else [Options]
    objects, _ = parse_options(make_parser("", *classes), classes, ["--config", str(config)])
    # A configuration that changes nothing would be a file of other options.
    assert objects != parse_options(make_parser("", *classes), classes, [])[0] or config.name == "fbank.yaml"
