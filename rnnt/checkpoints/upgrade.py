"""What earlier versions wrote, as this one reads it: format 1 had the heads of the losses in the model's weights.

Format 1 also had one flat list of options for all encoders and predictors. Nothing else differs, so that a training of
format 1 continues bit for bit.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rnnt.model.config import PREDICTORS, JoinerConfig, ModelConfig
from rnnt.model.encoders import ENCODERS
from rnnt.options import make, to_dict

# The heads of format 1 by the beginnings of their names, and where they are now.
HEADS = {
    "simple_am_proj.": "pruned.simple_am_proj.",
    "simple_lm_proj.": "pruned.simple_lm_proj.",
    "ctc_output.": "ctc.output.",
}


def _split(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Weights of format 1 as those of the network and those of the objectives."""
    parts: dict[str, dict[str, Any]] = {"model": {}, "objectives": {}}
    for name, value in state.items():
        head = next((head for head in HEADS if name.startswith(head)), None)
        if head is None:
            parts["model"][name] = value
        else:
            parts["objectives"][HEADS[head] + name[len(head) :]] = value
    return parts


def upgrade_checkpoint(state: Any) -> Any:
    """A checkpoint of a training, whatever its format; all else as it is."""
    if not isinstance(state, dict) or "identity" not in state:
        return state
    identity = state["identity"]
    upgraded = {name: value for name, value in state.items() if name != "identity"}
    upgraded.update(_split(state["model"]), format=2)
    if "ema" in state:
        upgraded["ema"] = _split(state["ema"])
    if "average" in state:
        upgraded["average"] = {**state["average"], "mean": _split(state["average"]["mean"])["model"]}
    losses = ["pruned" if "simple_am_proj" in identity["loss"] else "full"]
    losses += ["ctc"] if "ctc_output" in identity["loss"] else []
    config = {**identity["config"], "model": upgrade_model_config(identity["config"]["model"])}
    upgraded["fingerprint"] = {
        "config": config, "losses": losses, "tokenizer": identity["tokenizer"], "plan": identity["plan"]
    }  # fmt: skip
    return upgraded


def upgrade_model_config(values: Any) -> Any:
    """The model's options in a config.json or checkpoint: those of format 1 as those of the chosen components."""
    if not isinstance(values, dict) or not isinstance(values.get("encoder"), str):
        return values
    encoder, predictor = values["encoder"], values.get("predictor", "stateless")
    if encoder not in ENCODERS or predictor not in PREDICTORS:
        return values  # which the reader refuses
    classes = (ModelConfig, ENCODERS.config(encoder), PREDICTORS.config(predictor), JoinerConfig)
    names = {f.name for cls in classes for f in fields(cls)}
    return to_dict(make(ModelConfig, **{name: value for name, value in values.items() if name in names}))
