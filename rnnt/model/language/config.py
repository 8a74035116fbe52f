"""Options of language models. Free of torch, so that --help is quick."""

from dataclasses import dataclass
from typing import ClassVar

from rnnt.model.language import LANGUAGE_MODELS
from rnnt.options import component, option


@dataclass(frozen=True)
class NetworkConfig:
    """What the configurations of all language models have."""

    name: ClassVar[str]

    dim: int = option(1024, "width of the language model", minimum=1)
    layers: int = option(2, "layers of the language model", minimum=1)
    dropout: float = option(0.1, "dropout", minimum=0, below=1)
    tie_weights: bool = option(True, "the output layer has the weights of the embedding")


@dataclass(frozen=True)
class LSTMConfig(NetworkConfig):
    """LSTM layers over all tokens so far."""

    name = "lstm"


@dataclass(frozen=True)
class TransformerConfig(NetworkConfig):
    """Self-attention over the last tokens."""

    name = "transformer"

    dim: int = option(512, "width of the language model", minimum=1)
    layers: int = option(6, "layers of the language model", minimum=1)
    heads: int = option(8, "attention heads; they divide --dim", minimum=1)
    feedforward_dim: int = option(2048, "width inside the feed-forward layers", minimum=1)
    context: int = option(
        64, "tokens that each layer sees: the new one and those before it; a search keeps as many", minimum=1
    )

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise ValueError(f"--dim {self.dim} must be a multiple of twice --heads {self.heads}")


LANGUAGE_MODELS.add(LSTMConfig, "rnnt.model.language.lstm:LSTMLanguageModel")
LANGUAGE_MODELS.add(TransformerConfig, "rnnt.model.language.transformer:TransformerLanguageModel")


@dataclass(frozen=True)
class LanguageModelConfig:
    """Language model."""

    model: NetworkConfig = component(LANGUAGE_MODELS, "lstm", "kind of language model")
    vocab_size: int = option(0, "tokens, blank included (V); 0: as many as the tokenizer has", minimum=0)
    boundary_id: int | None = option(
        None, "id that begins and ends a text (default: the tokenizer's <sos/eos>, or blank)", minimum=0
    )

    def __post_init__(self) -> None:
        if self.vocab_size and (self.boundary_id or 0) >= self.vocab_size:
            raise ValueError("--boundary-id must be one of the --vocab-size ids")
