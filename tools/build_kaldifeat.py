#!/usr/bin/env python3
"""Compile kaldifeat from its source package and install it; the wheel is kept and used the next time.

    tools/venv/bin/python tools/build_kaldifeat.py --cache tools/cache

The package's own build asks CMake for pybind11 from the network and, with a CUDA torch, for the CUDA toolkit. Its C++
files need neither: torch's extension builder compiles them with the headers that come with torch.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VERSION = "1.24"


def sources(root: Path) -> list[str]:
    """The C++ files of the library and of its Python module, without the tests, relative to `root`."""
    files = [*root.glob("kaldifeat/csrc/*.cc"), *root.glob("kaldifeat/python/csrc/*.cc")]
    return sorted(str(f.relative_to(root)) for f in files if not re.search(r"(^test_|-test\.cc$)", f.name))


def fill_template(root: Path, torch_version: str) -> None:
    """Write torch_version.py, which kaldifeat compares with the installed torch."""
    package = root / "kaldifeat" / "python" / "kaldifeat"
    text = (package / "torch_version.py.in").read_text(encoding="utf-8")
    (package / "torch_version.py").write_text(text.replace("@TORCH_VERSION@", torch_version), encoding="utf-8")


def unpack(cache: Path) -> Path:
    """Download the source package, unpack it and return its folder."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    subprocess.run([*command, "--dest", str(cache), f"kaldifeat=={VERSION}"], check=True)
    root = cache / f"kaldifeat-{VERSION}"
    shutil.rmtree(root, ignore_errors=True)
    archive = cache / f"kaldifeat-{VERSION}.tar.gz"
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        tar.extractall(cache)
    archive.unlink()
    return root


def provide_ninja(folder: Path) -> None:
    """Put ninja, which compiles several files at a time, on the path; without it torch compiles one after the other."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "ninja"]
    if shutil.which("ninja") is None and subprocess.run(command).returncode == 0:
        os.environ["PATH"] = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", "")])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def build(cache: Path, version: str) -> None:
    """Compile kaldifeat and put the wheel, with the version `version`, into `cache`."""
    import setuptools
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension

    root = unpack(cache)
    fill_template(root, torch.__version__)
    provide_ninja(root / "ninja")
    here = os.getcwd()
    os.chdir(root)
    try:
        setuptools.setup(
            name="kaldifeat",
            version=version,
            package_dir={"kaldifeat": "kaldifeat/python/kaldifeat"},
            packages=["kaldifeat"],
            ext_modules=[
                CppExtension(
                    "_kaldifeat",
                    sources(root),
                    include_dirs=[str(root)],
                    define_macros=[("KALDIFEAT_HAS_FFT_NAMESPACE", None)],
                    extra_compile_args=["-O2", "-g0", "-w"],
                )
            ],
            cmdclass={"build_ext": BuildExtension},
            zip_safe=False,
            script_args=["--quiet", "bdist_wheel", "--dist-dir", str(cache)],
        )
    finally:
        os.chdir(here)
    shutil.rmtree(root)


def cached_wheel(cache: Path, version: str) -> Path | None:
    """The wheel that was built before for this Python and torch, or None."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return next(iter(sorted(cache.glob(f"kaldifeat-{version}-{tag}-*.whl"))), None)


def main(argv: list[str] | None = None) -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the wheel")
    parser.add_argument("--target", type=Path, help="folder to install into (default: the environment)")
    args = parser.parse_args(argv)
    cache = args.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    # A wheel works with one torch only, so that torch's version is part of the wheel's.
    version = f"{VERSION}+torch{torch.__version__.split('+')[0]}"
    wheel = cached_wheel(cache, version)
    if wheel is None:
        build(cache, version)
        wheel = cached_wheel(cache, version)
        assert wheel is not None
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall"]
    subprocess.run([*command, *(["--target", str(args.target)] if args.target else []), str(wheel)], check=True)
    environment = {**os.environ, **({"PYTHONPATH": str(args.target)} if args.target else {})}
    subprocess.run([sys.executable, "-c", "import kaldifeat"], check=True, env=environment)
    print(f"installed {wheel.name}")


if __name__ == "__main__":
    main()
