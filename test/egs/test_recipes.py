"""All recipes have the same shape: path.sh, cmd.sh, stage numbers, help texts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnt.data.config import FeatureConfig
from rnnt.options import make_parser
from rnnt.options import parse as parse_options
from rnnt.train import CLASSES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "utils"))

from launch import command_line, conf  # noqa: E402

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
@pytest.mark.parametrize("file", ["path.sh", "cmd.sh", "conf/slurm.conf", "conf/queue.conf"])
def test_what_a_site_changes_is_alike(recipe, file):
    assert (recipe / file).read_text() == (RECIPES[0] / file).read_text()


@pytest.mark.parametrize("backend", ["", "local", "slurm", "sge", "ssh", "none"])
def test_cmd_sh_chooses_a_launcher_that_takes_its_options(backend, tmp_path):
    script = f'cmd_backend={backend}; . {RECIPES[0]}/cmd.sh && printf \'%s\\n\' "$train_cmd" "$decode_cmd"'
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
            path = RECIPES[0] / "conf" / conf_file
            assert conf.parse(path.read_text(), conf_file).arguments(request, skip={"max_jobs_run"})


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
    classes = [FeatureConfig] if config.name.startswith("fbank") else CLASSES
    objects, _ = parse_options(make_parser("", *classes), classes, ["--config", str(config)])
    # A configuration that changes nothing would be a file of other options.
    assert any(found != cls() for found, cls in zip(objects, classes)) or config.name == "fbank.yaml"
