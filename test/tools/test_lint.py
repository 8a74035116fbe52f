"""shellcheck, ruff and mypy find nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("rnnt", "local", "utils", "tools", "egs", "test", "benchmarks", ".ci")
# Where scripts stand; data and experiments are no place to look.
SCRIPTS = (
    "utils/*",
    "tools/*",
    "tools/docker/*.sh",
    "egs/*/*/mlperf/*",
    ".ci/*",
    "egs/*/*/*.sh",
    "egs/*/*/local/*",
    "benchmarks/*",
    "test/**/*.sh",
)


def program(name):
    """A program of the environment that runs the tests."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def scripts(language):
    """The scripts whose first line names `language`."""
    found = []
    for path in sorted(path for pattern in SCRIPTS for path in ROOT.glob(pattern)):
        if path.is_file() and path.suffix in ("", ".sh", ".pl", ".sub"):
            with open(path, "rb") as file:
                if language in file.readline(100):
                    found.append(path)
    return found


def run(*command, cwd=ROOT):
    result = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_finds_nothing(arguments):
    # Folders are searched for *.py, but for what .gitignore names; the launchers are called otherwise.
    folders = [ROOT / folder for folder in FOLDERS if (ROOT / folder).is_dir()]
    run(program("ruff"), *arguments, ROOT / "setup.py", *folders, *scripts(b"python3"))


def test_mypy_finds_nothing():
    """The options stand in pyproject.toml."""
    run(program("mypy"), "--no-error-summary")


@pytest.mark.parametrize("path", scripts(b"sh"), ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_finds_nothing(path):
    # From the folder of the script, where its `source` comments hold.
    run(program("shellcheck"), "-x", path.name, cwd=path.parent)


def test_hadolint_finds_nothing():
    files = sorted((ROOT / "tools" / "docker").glob("Dockerfile*"))
    assert files
    run(program("hadolint"), *files)
