"""Which library computes the features. Loads torch only where it must, so that planning a stage is quick."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from rnnt.errors import UserError

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig


def resolve_library(config: FeatureConfig, library: str = "auto") -> str:
    """The library that computes the features: `kaldifeat`, `lhotse` or `rnnt`.

    Args:
        config: the front-end.
        library: `auto` (kaldifeat where it imports, else lhotse) or one of the three.

    Raises:
        UserError: when the requested library is not installed, or doesn't compute this front-end.
    """
    if config.frontend == "slaney_log_mel":
        if library not in ("auto", "rnnt"):
            raise UserError(f"{library} doesn't compute {config.frontend}; use --feature-library auto")
        return "rnnt"
    if library == "auto":
        return "kaldifeat" if _imports("kaldifeat") else "lhotse"
    if not _imports(library):
        raise UserError(f"{library} is not installed; use --feature-library auto")
    return library


def _imports(module: str) -> bool:
    if importlib.util.find_spec(module) is None:
        return False
    if module == "lhotse":  # needed everywhere; the import takes a second
        return True
    try:
        importlib.import_module(module)
    except (ImportError, OSError):  # OSError: a wheel for another torch
        return False
    return True
