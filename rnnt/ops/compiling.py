"""What torch.compile leaves alone, and what an exporter sees.

Tiles and recursions depend on lengths, and are fast as they are. An exported graph gets plain operations instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def disable_compile(function: F) -> F:
    """Decorate a function that torch.compile calls between two graphs and does not trace.

    By torch's own decorator for that, which loads its compiler when the function first runs, as its optimizers do,
    and not when it is defined.
    """
    disable = getattr(torch, "_disable_dynamo", None)  # torch before 2.1 has none
    return function if disable is None else disable(function)


def is_compiling() -> bool:
    """Whether torch.compile is tracing the code that asks."""
    compiler = getattr(torch, "compiler", None)
    return compiler is not None and hasattr(compiler, "is_compiling") and compiler.is_compiling()


def is_tracing() -> bool:
    """Whether the code that asks is traced for an export: it then uses operations that every runtime has."""
    return torch.jit.is_tracing()
