"""All recipes have the same shape: path.sh, cmd.sh, stage numbers, help texts."""

import re
import subprocess
from pathlib import Path

import pytest

from rnnt.data.config import FeatureConfig
from rnnt.options import make_parser
from rnnt.options import parse as parse_options
from rnnt.train import CLASSES

ROOT = Path(__file__).parents[2]
RECIPES = sorted(p.parent for p in (ROOT / "egs").glob("*/*/run.sh"))
SCRIPTS = [folder / script for folder in RECIPES for script in ("run.sh", "prepare.sh")]

CONFIGS = [path for folder in RECIPES for path in sorted((folder / "conf").glob("*.yaml"))]


def name(path):
    return str(path.relative_to(ROOT))


def parts(script):
    """The text of a script, and those of what it shares with the other recipes."""
    text = script.read_text()
    names = re.findall(r"utils/(preparation|experiment)\.sh", text)
    return [text, *((ROOT / "utils" / f"{name}.sh").read_text() for name in names)]


def test_there_is_a_recipe():
    assert RECIPES


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_path_and_cmd_are_alike(recipe):
    first = RECIPES[0]
    assert (recipe / "path.sh").read_text() == (first / "path.sh").read_text()
    variables = [re.findall(r"^export (\w+)=", (r / "cmd.sh").read_text(), re.MULTILINE) for r in (recipe, first)]
    assert variables[0] == variables[1] == ["train_cmd", "decode_cmd"]


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_preparation_has_the_stages_of_every_recipe(recipe):
    texts = parts(recipe / "prepare.sh")
    calls = [re.findall(r"^ *(?:run|skip)_stage (\d) ", text, re.MULTILINE) for text in texts]
    assert sorted(set(sum(calls, []))) == list("01234567")
    assert all(numbers == sorted(numbers) for numbers in calls)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_help_names_every_option_and_needs_no_environment(script, tmp_path):
    texts = parts(script)
    texts[0] = texts[0].split("help_message=")[0]
    options = [option for text in texts for option in re.findall(r"^(\w+)=", text, re.MULTILINE)]
    environment = {"PATH": "/usr/bin:/bin", "RNNT_VENV": str(tmp_path / "none")}
    result = subprocess.run([script, "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 0
    missing = [o for o in options if o not in ("caller", "here") and f"--{o.replace('_', '-')} " not in result.stderr]
    assert missing == []
    stages = r"^ *(?:run_stage|skip_stage|if stage_wanted) (\d)"
    for number in re.findall(stages, "\n".join(parts(script)), re.MULTILINE):
        assert re.search(rf"^  {number} \w", result.stderr, re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_bad_options_are_refused(script):
    for arguments, part in ((["--no-such-option", "1"], "invalid option"), (["word"], "unexpected argument word")):
        result = subprocess.run([script, *arguments], capture_output=True, text=True)
        assert result.returncode == 1 and part in result.stderr


@pytest.mark.parametrize("config", CONFIGS, ids=name)
def test_configurations_are_read(config):
    classes = [FeatureConfig] if config.name == "fbank.yaml" else CLASSES
    objects, _ = parse_options(make_parser("", *classes), classes, ["--config", str(config)])
    # A configuration that changes nothing would be a file of other options.
    assert any(found != cls() for found, cls in zip(objects, classes)) or config.name == "fbank.yaml"
