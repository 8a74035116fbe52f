"""What torch.compile leaves alone: our tiles and recursions depend on lengths, and are fast as they are."""

from __future__ import annotations

import torch


def eager(function):
    """Decorate a function that torch.compile is to call, between two graphs, and not to look into.

    By torch's own decorator for that, which loads its compiler when the function first runs, as its optimizers do,
    and not when it is defined.
    """
    disable = getattr(torch, "_disable_dynamo", None)  # torch before 2.1 has none
    return function if disable is None else disable(function)


def is_compiling() -> bool:
    """Whether torch.compile is looking at the code that asks."""
    compiler = getattr(torch, "compiler", None)
    return compiler is not None and hasattr(compiler, "is_compiling") and compiler.is_compiling()
