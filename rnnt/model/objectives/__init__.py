"""What training minimises, by name: losses, with the heads that only they use. The network knows none of them.

An objective is an `Objective` made of `(network, config)`. Training minimises the sum of those that `--loss` names.
Free of torch, as is `rnnt.model.objectives.config`.
"""

from typing import TYPE_CHECKING, Any

from rnnt.model.objectives.config import CTCConfig, FullConfig, ObjectiveConfig, PrunedConfig, TDTConfig
from rnnt.options import from_dict
from rnnt.registry import Registry

if TYPE_CHECKING:
    from rnnt.model.objectives.base import Objective
    from rnnt.model.transducer import Transducer

OBJECTIVES = Registry("loss")
OBJECTIVES.add(PrunedConfig, "rnnt.model.objectives.transducer:PrunedObjective")
OBJECTIVES.add(FullConfig, "rnnt.model.objectives.transducer:FullObjective")
OBJECTIVES.add(TDTConfig, "rnnt.model.objectives.tdt:TDTObjective")
OBJECTIVES.add(CTCConfig, "rnnt.model.objectives.ctc:CTCObjective")


def search_configs(losses: Any, where: object) -> list[ObjectiveConfig]:
    """Of the losses in a record of options, those that a search can use and that are known here.

    Args:
        losses: a list of dictionaries as `rnnt.options.to_dict` makes them; whatever else earlier versions wrote
            there: none.
        where: the file, for errors.
    """
    known: dict[Any, Any] = {cls.name: cls for cls in OBJECTIVES.configs() if cls.has_search_head}
    named = [values for values in losses if isinstance(values, dict)] if isinstance(losses, list) else []
    return [from_dict(known[v["name"]], v, where) for v in named if v.get("name") in known]


def make_heads(network: "Transducer", configs: list[ObjectiveConfig]) -> "dict[str, Objective]":
    """The objectives of `configs` by name, for `Transducer.with_heads`."""
    return {config.name: OBJECTIVES.implementation(config)(network, config) for config in configs}
