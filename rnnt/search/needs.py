"""What the searches need of a model: predictor and joiner, or a head. Free of torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rnnt.errors import UserError
from rnnt.search.config import METHODS, SearchConfig

DURATIONS = "tdt"  # the head that says how long a token lasts


def heads_of(model: Any) -> Any:
    """The heads of a model by name; none where it knows no such thing."""
    heads = getattr(model, "heads", None)
    return {} if heads is None else heads


def check_method(model: Any, config: SearchConfig, where: object = "this model") -> None:
    """Raise UserError unless the model has what the search of `config` needs. where: the model, for the message."""
    can = [name for name, search in METHODS.items() if has_needs(model, search.head)]
    if config.decoding_method not in can:
        if config.head:
            needs = f"was not trained with --loss {config.head}"
        elif DURATIONS in heads_of(model):
            needs = "says how long each token lasts, which this search does not heed"
        else:
            needs = "has no predictor and joiner"
        raise UserError(
            f"{where}: --decoding-method {config.decoding_method} can't be used, the model {needs}; choose "
            f"{' or '.join(sorted(can))}"
        )


def has_needs(model: Any, head: str) -> bool:
    """Whether a model has a head, or for an empty name predictor and joiner, and no head for durations.

    A joiner that was trained with durations goes wrong in a search without: it is not asked where it expects to be.
    """
    heads = heads_of(model)
    return head in heads if head else getattr(model, "joiner", None) is not None and DURATIONS not in heads


def default_search(model: Any, config: SearchConfig | None = None) -> SearchConfig:
    """The search for a model where nobody chose one: greedy, over what the model has.

    Args:
        model: with its heads.
        config: whose other options are taken; where it names another search than the default, it is returned.
    """
    config = config or SearchConfig()
    if config.decoding_method != SearchConfig().decoding_method or has_needs(model, ""):
        return config
    greedy = [name for name, search in METHODS.items() if search.head in heads_of(model) and "greedy" in name]
    return replace(config, decoding_method=greedy[0]) if greedy else config
