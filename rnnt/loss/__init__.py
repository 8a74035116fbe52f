"""Transducer losses with k2's interface, and the functions that training uses. Submodules load on first use."""

from importlib import import_module

_HOME = {
    "rnnt_loss": "compat",
    "rnnt_loss_simple": "compat",
    "rnnt_loss_smoothed": "compat",
    "rnnt_loss_pruned": "compat",
    "get_rnnt_logprobs": "logprobs",
    "get_rnnt_logprobs_joint": "logprobs",
    "get_rnnt_logprobs_smoothed": "logprobs",
    "get_rnnt_logprobs_pruned": "logprobs",
    "get_hat_logprobs_pruned": "logprobs",
    "get_rnnt_prune_ranges": "pruning",
    "do_rnnt_pruning": "pruning",
    "mutual_information_recursion": "mutual_information",
    "joint_mutual_information_recursion": "mutual_information",
    "smoothed_loss": "simple",
    "prune_ranges": "pruning",
    "pruned_joiner_loss": "joiner",
    "full_joiner_loss": "joiner",
    "projection": "products",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
