"""Transducer losses with k2's interface, and the functions that training calls. Submodules load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "rnnt_loss": "rnnt.loss.k2.losses",
    "rnnt_loss_simple": "rnnt.loss.k2.losses",
    "rnnt_loss_smoothed": "rnnt.loss.k2.losses",
    "rnnt_loss_pruned": "rnnt.loss.k2.losses",
    "get_rnnt_logprobs": "rnnt.loss.k2.logprobs",
    "get_rnnt_logprobs_joint": "rnnt.loss.k2.logprobs",
    "get_rnnt_logprobs_smoothed": "rnnt.loss.k2.logprobs",
    "get_rnnt_logprobs_pruned": "rnnt.loss.k2.logprobs",
    "get_hat_logprobs_pruned": "rnnt.loss.k2.logprobs",
    "get_rnnt_prune_ranges": "rnnt.loss.pruning",
    "do_rnnt_pruning": "rnnt.loss.pruning",
    "mutual_information_recursion": "rnnt.loss.k2.recursion",
    "joint_mutual_information_recursion": "rnnt.loss.k2.recursion",
    "smoothed_loss": "rnnt.loss.simple",
    "prune_ranges": "rnnt.loss.pruning",
    "pruned_joiner_loss": "rnnt.loss.joiner",
    "full_joiner_loss": "rnnt.loss.joiner",
    "tdt_joiner_loss": "rnnt.loss.tdt",
    "projection": "rnnt.ops.matmul",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
