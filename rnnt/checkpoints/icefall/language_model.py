"""icefall's RNN-LM as a language model of ours (its recipe `icefall/rnn_lm`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from rnnt.errors import UserError
from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import make
from rnnt.text.tokenizer import SOS_EOS

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.model.language.base import LanguageModel
    from rnnt.text.tokenizer import Tokenizer

# Beginnings of names, theirs and ours.
NAMES = {"input_embedding.": "embedding.", "rnn.": "lstm.", "output_linear.": "output."}


def is_language_model(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights are those of an RNN-LM."""
    return "input_embedding.weight" in weights and "rnn.weight_ih_l0" in weights


def to_language_model(
    where: str, weights: Mapping[str, Tensor], tokenizer: Tokenizer
) -> tuple[LanguageModel, LanguageModelConfig]:
    """The network in evaluation mode and its configuration.

    Args:
        where: the file, for messages.
        weights: by icefall's names.
        tokenizer: of the model; `<sos/eos>` begins and ends a text.

    Raises:
        UserError: the weights are those of another network, or of other tokens.
    """
    V, D = weights["input_embedding.weight"].shape
    if tokenizer.vocab_size != V or SOS_EOS not in tokenizer.tokens:
        raise UserError(
            f"{where}: over {V} tokens, <sos/eos> among them; {tokenizer.model_path} has {tokenizer.vocab_size}; give "
            "the tokens that it was trained with"
        )
    named = {
        next(
            (ours + name.removeprefix(theirs) for theirs, ours in NAMES.items() if name.startswith(theirs)), name
        ): value
        for name, value in weights.items()
    }
    layers = sum(bool(re.fullmatch(r"rnn\.weight_ih_l\d+", name)) for name in weights)
    tied = "output.weight" not in named or torch.equal(named["output.weight"], named["embedding.weight"])
    config = make(
        LanguageModelConfig, model="lstm", dim=D, layers=layers, tie_weights=tied, vocab_size=V,
        boundary_id=tokenizer.tokens.index(SOS_EOS),
    )  # fmt: skip
    network = make_language_model(config)
    own = network.state_dict()
    if tied:
        named["output.weight"] = named["embedding.weight"]
    unknown = sorted(named.keys() - own.keys())
    missing = sorted(own.keys() - named.keys())
    wrong = [name for name in own if name in named and named[name].shape != own[name].shape]
    for problem, names in (("unknown tensor", unknown), ("lacks", missing), ("of another width than", wrong)):
        if names:
            width = f" the embedding's {D}" if names is wrong else ""
            raise UserError(f"{where}: not an RNN-LM of LSTM layers of one width: {problem}{width}: {names[0]}")
    network.load_state_dict({name: value.float() for name, value in named.items()})
    return network.eval(), config
