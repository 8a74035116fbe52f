"""Which library computes the features. Loads torch only where it must, so that planning a stage is quick."""

import importlib
import importlib.util

from rnnt.errors import UserError


def resolve_library(config, library="auto"):
    """The name of the extractor of a `FeatureConfig`: `kaldifeat`, `lhotse` or `rnnt`.

    `library` is `auto` (kaldifeat where it imports, else lhotse) or one of these. Raises `UserError` when the library
    that was asked for is not installed or the configuration makes no valid filters.
    """
    _check_filters(config)
    if config.frontend == "slaney_log_mel":
        if library not in ("auto", "rnnt"):
            raise UserError(f"{library} doesn't compute {config.frontend}; use --feature-library auto")
        return "rnnt"
    if library == "auto":
        return "kaldifeat" if _imports("kaldifeat") else "lhotse"
    if not _imports(library):
        raise UserError(f"{library} is not installed; use --feature-library auto")
    return library


def _imports(module):
    if importlib.util.find_spec(module) is None:
        return False
    if module == "lhotse":  # needed everywhere; the import takes a second
        return True
    try:
        importlib.import_module(module)
    except (ImportError, OSError):  # OSError: a wheel for another torch
        return False
    return True


def _check_filters(config):
    """Raise `UserError` unless the filters lie below half the sampling rate."""
    nyquist = config.sampling_rate / 2
    high = config.highest_freq
    if not 0 <= config.low_freq < high <= nyquist:
        raise UserError(
            f"features: filters from {config.low_freq} Hz to {high} Hz don't fit into half the sampling rate, "
            f"{nyquist} Hz; change low_freq or high_freq"
        )
