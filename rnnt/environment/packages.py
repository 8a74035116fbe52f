"""The packages of the environment: versions, what is wrong with them, and the command that fixes it.

Standard library only: tools/check_env.py calls it when nothing else may work.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]  # of a checkout
CONSTRAINTS = ROOT / "tools/constraints.txt"
OPTIONAL = {
    "k2": "the native loss is used, with the same numbers",
    "kaldifeat": "lhotse computes the features, the same within 1e-4; tools/setup.sh --build-kaldifeat compiles it",
    "torchaudio": "not needed",
    "espeakng-loader": "no synthetic speech; pip install espeakng-loader",
    "triton": "no Triton kernels",
    "onnx": "no export to ONNX; pip install onnx",
    "onnxruntime": "no export to ONNX, and folders of ONNX graphs are not read; pip install onnxruntime",
    "wandb": "no reports to Weights & Biases; pip install wandb",
    "safetensors": "no export for the Hugging Face hub; pip install safetensors",
}


class Requirement(NamedTuple):
    """A package that the project requires."""

    name: str
    wanted: str  # the oldest version that is good enough, "" for any


class Finding(NamedTuple):
    """What was found out about a package."""

    name: str
    version: str
    remark: str
    ok: bool


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.8.0+cu128 -> (2, 8, 0)."""
    return tuple(int(n) for n in re.findall(r"^\d*(?:\.\d+)*", version)[0].split(".") if n)


def requirements(texts: Iterable[str]) -> list[Requirement]:
    """The unconditional requirements of a package; `texts` as importlib.metadata gives them."""
    found = []
    for text in texts:
        spec, _, marker = text.partition(";")
        match = re.match(r"\s*([\w.-]+)\s*(?:\(?>=\s*([\w.]+)\)?)?", spec)
        if match and "extra" not in marker:
            found.append(Requirement(match.group(1), match.group(2) or ""))
    return found


def pins(text: str) -> dict[str, set[str]]:
    """`{package: {versions}}` of a constraints file."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        found.setdefault(name.lower(), set()).add(version)
    return found


def modules_of(name: str) -> list[str]:
    """The modules to import of an installed distribution."""
    wanted = name.lower().replace("_", "-")
    return sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if wanted in [owner.lower().replace("_", "-") for owner in owners] and not module.startswith("_")
    )


def loading_error(name: str) -> str:
    """Why the package can't be imported, or ""."""
    modules = [m for m in modules_of(name) if m.lower() == name.lower().replace("-", "_")] or modules_of(name)[:1]
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken library may raise anything
            return f"does not load: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return ""


def pip(name: str) -> str:
    """The command that installs the version of a package that the project wants."""
    constraints = f"-c {CONSTRAINTS} " if CONSTRAINTS.is_file() else ""
    return f"{sys.executable} -m pip install --force-reinstall --no-deps {constraints}{name}"


def check_required(requirement: Requirement, pinned: dict[str, set[str]], load: bool = True) -> Finding:
    """Check a required package, with `load` that it loads; a version that is not in `pinned` is only a remark."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(requirement.name, "missing", f"fix: {ROOT / 'tools/setup.sh'}", False)
    if requirement.wanted and numbers(version) < numbers(requirement.wanted):
        remark = f"older than {requirement.wanted}; fix: {pip(requirement.name)}"
        return Finding(requirement.name, version, remark, False)
    if load and (error := loading_error(requirement.name)):
        return Finding(requirement.name, version, f"{error}; fix: {pip(requirement.name)}", False)
    known = pinned.get(requirement.name.lower(), set())
    plain = version.split("+")[0]
    remark = "" if not known or plain in known else f"not the known-good {' or '.join(sorted(known))}"
    return Finding(requirement.name, version, remark, True)


def check_optional(name: str, without: str, load: bool = True) -> Finding:
    """Check an optional package, with `load` that it loads; `without` says what happens without it."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "-", without, True)
    error = loading_error(name) if load else ""
    remark = f"{error}; without it: {without}; fix: {sys.executable} -m pip uninstall {name}" if error else ""
    return Finding(name, version, remark, True)


def gpus() -> str:
    """One line about the GPUs of this machine."""
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    found = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
    return f"{len(found)}, {found[0].split(' (')[0]}" if found else "none"


def torch_sees_gpu() -> Finding | None:
    """A finding when there is a GPU that torch can't use, else None."""
    import torch

    if gpus() == "none" or torch.cuda.is_available():
        return None
    built = f"torch {torch.__version__} (CUDA {torch.version.cuda})"
    remark = f"nvidia-smi shows a GPU that {built} can't use; fix: a newer driver, or {pip('torch')}"
    return Finding("torch on GPU", "no", remark, True)


def findings(load: bool = True) -> list[Finding]:
    """Everything that was checked, in the order to be printed; without `load` nothing is imported."""
    pinned = pins(CONSTRAINTS.read_text(encoding="utf-8")) if CONSTRAINTS.is_file() else {}
    version = platform.python_version()
    ok = (3, 10) <= sys.version_info[:2] <= (3, 13)
    out = [Finding("python", version, "" if ok else "supported: 3.10 to 3.13; remove tools/venv, set PYTHON", ok)]
    try:
        texts = importlib.metadata.requires("rnnt") or []
    except importlib.metadata.PackageNotFoundError:
        out.append(Finding("rnnt", "missing", f"fix: {ROOT / 'tools/setup.sh'}", False))
        return out
    out.extend(check_required(requirement, pinned, load) for requirement in requirements(texts))
    out.extend(check_optional(name, without, load) for name, without in OPTIONAL.items())
    if load and all(finding.ok for finding in out) and (found := torch_sees_gpu()):
        out.append(found)
    return out


def as_line(finding: Finding) -> str:
    """BAD or nothing, name, version, remark, in lines of 80 columns; a fix, which is a command, stays in one."""
    mark = "    " if finding.ok else "BAD "
    columns = f"{mark}{finding.name:<16} {finding.version:<14} "
    if not finding.ok:
        return columns + finding.remark
    filled = textwrap.fill(finding.remark, 80, initial_indent=columns, subsequent_indent=" " * len(columns))
    return filled or columns.rstrip()
