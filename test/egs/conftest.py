"""The programs of the recipes' own local/, loaded from their files, and copies of recipes to run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EGS = ROOT / "egs"


OF_THE_SITE = ("cmd.sh", "slurm.conf", "queue.conf")


def as_committed(path):
    """The bytes of a file of a recipe; what the user of a cluster edits as it was committed."""
    if path.name in OF_THE_SITE:
        shown = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True)
        if shown.returncode == 0:
            return shown.stdout
    return path.read_bytes()


@pytest.fixture
def committed():
    """`committed(path)`: the bytes of a file, see `as_committed`."""
    return as_committed


@pytest.fixture
def copy_recipe(tmp_path):
    """`copy_recipe("corpus")` copies a recipe into a tree that shares all else: nothing is written into this one."""

    def copy(corpus):
        source, target = EGS / corpus / "ASR", tmp_path / "egs" / corpus / "ASR"
        target.mkdir(parents=True)
        for name in ("rnnt", "local", "utils", "tools", "setup.py"):
            (tmp_path / name).symlink_to(ROOT / name)
        listed = subprocess.run(["git", "ls-files"], cwd=source, capture_output=True, text=True, check=True)
        for name in listed.stdout.split():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(as_committed(source / name))
            (target / name).chmod((source / name).stat().st_mode)
        return target

    return copy


@pytest.fixture
def recipe_program(monkeypatch):
    """`recipe_program("corpus", "name")` is the module egs/corpus/ASR/local/name.py; it finds its neighbours."""

    def load(corpus, name):
        folder = EGS / corpus / "ASR" / "local"
        monkeypatch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        # Its neighbours and itself must not stay for another recipe's modules of the same name.
        for path in folder.glob("*.py"):
            monkeypatch.delitem(sys.modules, path.stem, raising=False)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load
