"""Predictor states of many hypotheses: tuples of tensors with the hypotheses first."""

import torch


def select(state, index):
    """Rows `index` of a state."""
    return tuple(part[index] for part in state)


def choose(mask_N, new, old):
    """Rows of the state `new` where `mask_N`, else of `old`."""
    return tuple(torch.where(mask_N.view(-1, *[1] * (n.ndim - 1)), n, o) for n, o in zip(new, old))
