"""The rules of the house: who may import whom, what stays light, which words stay inside egs/."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Modules that every part but the losses may use.
BASE = {"cli", "errors", "files", "options", "progress"}
MAY_IMPORT = {
    "loss": set(),
    "text": BASE,
    "scoring": BASE,
    "optim": BASE,
    "model": BASE | {"loss"},
    "data": BASE | {"text"},
    "search": BASE | {"model"},
    "training": BASE | {"model", "loss", "data", "text", "optim", "search", "scoring"},
    "transcription": BASE | {"model", "data", "text", "search", "training"},
}
HEAVY = {"torch", "lhotse", "numpy", "sentencepiece", "matplotlib", "tensorboard", "jiwer"}
OPTIONAL = {"k2", "kaldifeat", "torchaudio", "triton", "kenlm", "espeakng_loader", "sherpa_onnx"}

LIBRARY = sorted((ROOT / "rnnt").rglob("*.py"))
STAGES = sorted(
    [*(ROOT / "local").glob("*.py"), *(ROOT / "egs").glob("*/*/local/*.py"), *(ROOT / "egs").glob("*/*/mlperf/*.py")]
)
LAUNCHERS = sorted([*(ROOT / "utils").rglob("*.py"), *(ROOT / "utils").glob("*.pl")])


def name(path):
    return str(path.relative_to(ROOT))


def tree_of(path, **keywords):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path), **keywords)


def imports(path, nodes=None):
    """Absolute names of the modules that a file imports, anywhere in it or among `nodes`."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found = []
    for node in nodes or ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from rnnt import options` imports the part as a name.
            found += [f"{module}.{alias.name}" for alias in node.names]
    return found


def at_import(path):
    """The import statements that run when the file itself is imported."""
    found, waiting = [], list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += list(ast.iter_child_nodes(node))
    return found


def parts_of_ours(path):
    """The parts of the library that a file imports: `loss` for rnnt.loss.native."""
    found = set()
    for module in imports(path):
        words = module.split(".")
        if words[0] == "rnnt" and len(words) > 1 and words[1] != "__version__":
            found.add(words[1])
    return found


@pytest.mark.parametrize("path", LIBRARY, ids=name)
def test_parts_import_only_what_they_may(path):
    words = path.relative_to(ROOT / "rnnt").with_suffix("").parts
    if len(words) == 1 and words[0] not in BASE:
        return  # a program: it may import all of it
    allowed = BASE if len(words) == 1 else MAY_IMPORT[words[0]] | {words[0]}
    assert parts_of_ours(path) <= allowed


@pytest.mark.parametrize("path", LIBRARY + STAGES, ids=name)
def test_optional_packages_are_imported_where_they_are_used(path):
    modules = imports(path, at_import(path) or [ast.Pass()])
    # Triton compiles functions of a module that has imported it; such modules are imported only where they are used.
    is_triton = path.stem.endswith("_triton")
    assert not {module.split(".")[0] for module in modules} & (OPTIONAL - ({"triton"} if is_triton else set()))
    assert is_triton or not any(word.endswith("_triton") for module in modules for word in module.split("."))
    # Neither folder of stage programs is a package, and tests are not either.
    assert not {module.split(".")[0] for module in imports(path)} & {"local", "utils", "tools", "egs"}


@pytest.mark.parametrize("path", LAUNCHERS, ids=name)
def test_launchers_need_only_an_old_python(path):
    tree_of(path, feature_version=(3, 6))
    roots = {module.split(".")[0] for module in imports(path)}
    assert roots <= set(sys.stdlib_module_names) | {"launch"}


@pytest.mark.parametrize("path", [p for p in LIBRARY if p.parent.name == "loss"], ids=name)
def test_losses_are_readable_for_python_39(path):
    tree_of(path, feature_version=(3, 9))


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=name)
def test_tools_need_only_the_standard_library(path):
    roots = {module.split(".")[0] for module in imports(path)}
    # They ask torch for its version, and the compiler that comes with it.
    assert roots <= set(sys.stdlib_module_names) | {"torch", "setuptools"}
    assert not {m.split(".")[0] for m in imports(path, at_import(path) or [ast.Pass()])} & {"torch", "setuptools"}


def test_tests_are_no_package():
    assert list((ROOT / "test").rglob("__init__.py")) == []


CORPORA = re.compile(
    r"librispeech|speechocean|fsdd|free spoken digit|aishell|gigaspeech|wenetspeech|tedlium|musan|common ?voice"
    r"|libriheavy|wsj|timit|an4",
    re.IGNORECASE,
)


def test_no_corpus_is_named_outside_its_recipe():
    files = [p for folder in ("rnnt", "local", "utils") for p in (ROOT / folder).rglob("*")]
    files += [p for p in (ROOT / "tools").glob("*") if p.suffix] + [ROOT / "setup.py", ROOT / "Makefile"]
    found = []
    for path in files:
        if path.is_file() and path.suffix not in (".pyc", ".lock"):
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = enumerate(text.splitlines(), 1)
            found += [f"{name(path)}:{i}: {line}" for i, line in lines if CORPORA.search(line)]
    assert found == []


def programs():
    """Every program as the arguments of `python`: the console programs of setup.py and the stage programs."""
    console = re.findall(r'"(\S+) = ([\w.]+):main"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    assert console
    for title, module in console:
        yield pytest.param(["-c", f"from {module} import main; main(['--help'])"], id=title)
    for path in STAGES:
        if "__main__" in path.read_text(encoding="utf-8"):
            yield pytest.param([str(path), "--help"], id=name(path))


@pytest.mark.parametrize("arguments", list(programs()))
def test_help_loads_nothing_heavy(arguments):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "UTF-8"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "--help" in result.stdout
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert "argparse" in loaded
    assert not loaded & (HEAVY | OPTIONAL)
