"""Which versions of everything made a result."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

PACKAGES = ["torch", "k2", "lhotse", "sentencepiece", "kaldifeat", "numpy", "jiwer", "tensorboard"]


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that are installed, and the git commit if there is one."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    found["git"] = git.stdout.strip() or None
    return found
