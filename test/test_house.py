"""The rules of the house: who may import whom, what stays light, which words stay inside egs/."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Modules that every part but the losses may use.
BASE = {"cli", "config_files", "errors", "files", "names", "option_values", "options", "progress", "registry"}
# The rooms from the ground up: each may use those that it names, and none above it.
MAY_IMPORT = {
    "ops": set(),
    "loss": {"ops"},
    "text": BASE,
    "pages": BASE,
    "scoring": BASE | {"pages"},
    "optim": BASE,
    "distributed": BASE,
    "model": BASE | {"ops", "loss"},
    "data": BASE | {"text"},
    "environment": set(),
    "prepare": BASE | {"data", "text", "pages"},
    "search": BASE | {"model", "text", "checkpoints"},
    "checkpoints": BASE | {"model", "data", "text"},
    "training": BASE
    | {"ops", "loss", "model", "data", "text", "optim", "search", "scoring", "distributed", "checkpoints"},
    "streaming": BASE | {"model", "data", "text", "search"},
    "transcription": BASE | {"model", "data", "text", "search", "streaming", "distributed", "checkpoints"},
    "reporting": BASE | {"pages", "checkpoints"},
    "alignment": BASE | {"model", "data", "text", "search", "scoring", "distributed", "checkpoints"},
    "decoding": BASE | {"model", "data", "text", "search", "streaming", "distributed", "checkpoints", "scoring"},
}
HEAVY = {"torch", "lhotse", "numpy", "sentencepiece", "matplotlib", "tensorboard", "jiwer"}
OPTIONAL = {
    "k2", "kaldifeat", "torchaudio", "triton", "kenlm", "espeakng_loader", "sherpa_onnx", "onnx", "onnxruntime",
    "safetensors", "wandb",
}  # fmt: skip

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
    for module in imports(path, running(path)):
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


def module_name(path):
    """`rnnt.data.plan` for its file, `rnnt.data` for the file of the package."""
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def test_no_module_imports_itself_by_a_detour():
    """Imports within functions count: they hide a circle and don't undo it."""
    modules = {module_name(path): path for path in LIBRARY}
    graph = {}
    for module, path in modules.items():
        # `from a.b import c` is a module a.b.c, or a name in a.b; what only annotations need is no import.
        found = {word if word in modules else word.rpartition(".")[0] for word in imports(path, running(path))}
        graph[module] = (found & set(modules)) - {module}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def running(path):
    """The import statements of a file but for those under `if TYPE_CHECKING:`."""
    found, waiting = [ast.Pass()], list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        else:
            waiting += list(ast.iter_child_nodes(node))
    return found


def test_the_reference_of_the_losses_shares_no_code_with_what_it_checks():
    """Else both could be wrong alike: nothing native may be reached from it."""
    modules = {module_name(path): path for path in LIBRARY}
    reached, waiting = set(), ["rnnt.loss.reference", "rnnt.loss.reference_tdt"]
    while waiting:
        module = waiting.pop()
        if module in modules and module not in reached:
            reached.add(module)
            names = imports(modules[module], running(modules[module]))
            waiting += [name for word in names for name in (word, word.rpartition(".")[0])]
    assert not {module for module in reached if "native" in module or module == "rnnt.loss.backends"}


def test_folders_stay_small_enough_to_be_read():
    folders = {path.parent for path in LIBRARY}
    entries = {"__init__.py", "__main__.py"}
    assert max(len({path for path in folder.glob("*.py") if path.name not in entries}) for folder in folders) <= 15
    long = [name(path) for path in LIBRARY if len(path.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []


def test_inference_imports_no_training():
    """Decoding, transcription and export reach nothing in rnnt.training, rnnt.optim or rnnt.prepare."""
    modules = {module_name(path): path for path in LIBRARY}
    reached = set()
    waiting = [
        "rnnt.decode",
        "rnnt.transcribe",
        "rnnt.alignment.program",
        "rnnt.export_model",
        "rnnt.transcription.recognizer",
    ]
    while waiting:
        module = waiting.pop()
        if module in modules and module not in reached:
            reached.add(module)
            names = imports(modules[module], running(modules[module]))
            waiting += [name for word in names for name in (word, word.rpartition(".")[0])]
    assert not {module for module in reached if module.split(".")[1:2] in (["training"], ["optim"], ["prepare"])}


@pytest.mark.parametrize("path", LIBRARY + STAGES, ids=name)
def test_optional_packages_are_imported_where_they_are_used(path):
    modules = imports(path, at_import(path) or [ast.Pass()])
    # Triton compiles functions of a module that has imported it; such modules are imported only where they are used.
    is_triton = path.stem.startswith("triton_")
    assert not {module.split(".")[0] for module in modules} & (OPTIONAL - ({"triton"} if is_triton else set()))
    assert is_triton or not any(word.startswith("triton_") for module in modules for word in module.split("."))
    # Neither folder of stage programs is a package, and tests are not either.
    assert not {module.split(".")[0] for module in imports(path)} & {"local", "utils", "tools", "egs"}


@pytest.mark.parametrize("path", LAUNCHERS, ids=name)
def test_launchers_need_only_an_old_python(path):
    tree_of(path, feature_version=(3, 6))
    roots = {module.split(".")[0] for module in imports(path)}
    assert roots <= set(sys.stdlib_module_names) | {"launch"}


@pytest.mark.parametrize(
    "path", [p for p in LIBRARY if p.relative_to(ROOT / "rnnt").parts[0] in ("loss", "ops")], ids=name
)
def test_losses_are_readable_for_python_39(path):
    tree_of(path, feature_version=(3, 9))


@pytest.mark.parametrize("path", sorted([*ROOT.glob("tools/*.py"), *ROOT.glob("rnnt/environment/*.py")]), ids=name)
def test_tools_need_only_the_standard_library(path):
    roots = {module.split(".")[0] for module in imports(path)}
    # They ask torch for its version, and the compiler that comes with it; of ours, only what needs nothing either.
    ours = {module for module in imports(path) if module.split(".")[0] == "rnnt"}
    assert roots <= set(sys.stdlib_module_names) | {"torch", "setuptools", "rnnt"}
    assert all(module.startswith("rnnt.environment") for module in ours)
    assert not {m.split(".")[0] for m in imports(path, at_import(path) or [ast.Pass()])} & {"torch", "setuptools"}


def public_functions(path):
    """The functions and methods of a file whose names don't begin with an underscore, `__init__` and the like too."""
    waiting = list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef):
            waiting += node.body
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            yield node


TYPED = sorted([*LIBRARY, *(ROOT / "local").glob("*.py"), *(ROOT / "utils" / "launch").glob("*.py")])


@pytest.mark.parametrize("path", TYPED, ids=name)
def test_public_signatures_are_annotated(path):
    if path.stem.startswith("triton_"):
        return  # Triton reads the annotations of its kernels
    missing = []
    for function in public_functions(path):
        arguments = function.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        bare = [p.arg for p in parameters if p is not None and p.annotation is None and p.arg not in ("self", "cls")]
        if bare or function.returns is None:
            missing.append(f"{function.name}({', '.join(bare)})")
    assert missing == []


@pytest.mark.parametrize("path", TYPED, ids=name)
def test_docstrings_have_one_form(path):
    """A section's title stands alone on its line, and what follows is indented by four blanks more."""
    bad = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            lines = (ast.get_docstring(node) or "").splitlines()
            for line, after in zip(lines, [*lines[1:], ""]):
                title = re.match(r"( *)(Args|Returns|Raises|Attributes|Yields):(.*)", line)
                if title and (title[3] or not re.match(title[1] + r"    \S", after)):
                    bad.append(f"{getattr(node, 'name', 'module')}: {line.strip()}")
    assert bad == []


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
