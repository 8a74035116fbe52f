#!/usr/bin/env python3
"""Says what is in the environment: every package, its version, what does not fit, and the command that mends it.

    tools/venv/bin/python tools/check_env.py [--quiet]

Exit status 1 when a required package is missing, too old or does not load. Standard library only.
"""

import argparse
import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = {
    "k2": "the native loss is used, with the same numbers",
    "kaldifeat": "lhotse computes the features, the same within 1e-4; tools/setup.sh --build-kaldifeat compiles it",
    "torchaudio": "not needed",
    "espeakng-loader": "no synthetic speech; pip install espeakng-loader",
    "triton": "no Triton kernels",
}

# `wanted` is the oldest version that will do, "" for any.
Requirement = namedtuple("Requirement", "name wanted")
Finding = namedtuple("Finding", "name version remark ok")


def numbers(version):
    """The leading numbers of a version: 2.8.0+cu128 -> (2, 8, 0)."""
    return tuple(int(n) for n in re.match(r"\d*(?:\.\d+)*", version).group().split(".") if n)


def requirements(texts):
    """The unconditional requirements of a package as `Requirement`s; `texts` as importlib.metadata gives them."""
    found = []
    for text in texts:
        spec, _, marker = text.partition(";")
        match = re.match(r"\s*([\w.-]+)\s*(?:\(?>=\s*([\w.]+)\)?)?", spec)
        if match and "extra" not in marker:
            found.append(Requirement(match.group(1), match.group(2) or ""))
    return found


def pins(text):
    """`{package: {versions}}` of a constraints file."""
    found = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        found.setdefault(name.lower(), set()).add(version)
    return found


def modules_of(name):
    """The modules to import of an installed distribution."""
    wanted = name.lower().replace("_", "-")
    return sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if wanted in [owner.lower().replace("_", "-") for owner in owners] and not module.startswith("_")
    )


def loading_error(name):
    """Why the package does not import, or ""."""
    modules = [m for m in modules_of(name) if m.lower() == name.lower().replace("-", "_")] or modules_of(name)[:1]
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken library raises whatever it likes
            return f"does not load: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return ""


def pip(name):
    """The command that installs a package as the project wants it."""
    return f"{sys.executable} -m pip install --force-reinstall --no-deps -c {ROOT / 'tools/constraints.txt'} {name}"


def check_required(requirement, pinned):
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(requirement.name, "missing", f"mend: {ROOT / 'tools/setup.sh'}", False)
    if requirement.wanted and numbers(version) < numbers(requirement.wanted):
        remark = f"older than {requirement.wanted}; mend: {pip(requirement.name)}"
        return Finding(requirement.name, version, remark, False)
    error = loading_error(requirement.name)
    if error:
        return Finding(requirement.name, version, f"{error}; mend: {pip(requirement.name)}", False)
    known = pinned.get(requirement.name.lower(), set())
    plain = version.split("+")[0]
    remark = "" if not known or plain in known else f"not the known-good {' or '.join(sorted(known))}"
    return Finding(requirement.name, version, remark, True)


def check_optional(name, without):
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "-", without, True)
    error = loading_error(name)
    remark = f"{error}; without it: {without}; mend: {sys.executable} -m pip uninstall {name}" if error else ""
    return Finding(name, version, remark, True)


def gpus():
    """One line on the GPUs of this machine."""
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    found = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
    return f"{len(found)}, {found[0].split(' (')[0]}" if found else "none"


def torch_sees_gpu():
    """A finding when there is a GPU that torch can't use, else None."""
    import torch

    if gpus() == "none" or torch.cuda.is_available():
        return None
    built = f"torch {torch.__version__} (CUDA {torch.version.cuda})"
    remark = f"nvidia-smi shows a GPU that {built} can't use; mend: a newer driver, or {pip('torch')}"
    return Finding("torch on GPU", "no", remark, True)


def findings():
    """Everything checked, in the order to be printed."""
    pinned = pins((ROOT / "tools/constraints.txt").read_text(encoding="utf-8"))
    version = platform.python_version()
    ok = (3, 10) <= sys.version_info[:2] <= (3, 13)
    out = [Finding("python", version, "" if ok else "supported: 3.10 to 3.13; remove tools/venv, set PYTHON", ok)]
    try:
        texts = importlib.metadata.requires("rnnt") or []
    except importlib.metadata.PackageNotFoundError:
        out.append(Finding("rnnt", "missing", f"mend: {ROOT / 'tools/setup.sh'}", False))
        return out
    out.extend(check_required(requirement, pinned) for requirement in requirements(texts))
    out.extend(check_optional(name, without) for name, without in OPTIONAL.items())
    if all(finding.ok for finding in out) and (found := torch_sees_gpu()):
        out.append(found)
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong")
    args = parser.parse_args(argv)
    if not args.quiet:
        print(f"{platform.platform()}, {os.cpu_count()} cores, GPUs: {gpus()}")
    all_findings = findings()
    for finding in all_findings:
        if not args.quiet or not finding.ok:
            mark = "    " if finding.ok else "BAD "
            print(f"{mark}{finding.name:<16} {finding.version:<14} {finding.remark}".rstrip())
    return 0 if all(finding.ok for finding in all_findings) else 1


if __name__ == "__main__":
    sys.exit(main())
