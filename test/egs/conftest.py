"""The programs of the recipes' own local/, loaded from their files."""

import importlib.util
import sys
from pathlib import Path

import pytest

EGS = Path(__file__).resolve().parents[2] / "egs"


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
