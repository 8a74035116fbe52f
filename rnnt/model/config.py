"""Options of the network: encoder, predictor, joiner. Free of torch, so that --help is quick."""

from dataclasses import dataclass, field
from typing import ClassVar

from rnnt.model.encoders import ENCODERS
from rnnt.model.encoders.config import EncoderConfig
from rnnt.options import component, option
from rnnt.registry import Registry


@dataclass(frozen=True)
class PredictorConfig:
    """What the configurations of all predictors have."""

    name: ClassVar[str]

    predictor_dim: int = option(512, "width of the predictor's output", minimum=1)
    dropout: float = option(0.1, "dropout of encoder and predictor", minimum=0, below=1)
    predictor_dropout: float | None = option(None, "dropout of the predictor (default: --dropout)", minimum=0, below=1)

    @property
    def own_dropout(self) -> float:
        """--predictor-dropout, or --dropout where it is not given."""
        return self.dropout if self.predictor_dropout is None else self.predictor_dropout


@dataclass(frozen=True)
class StatelessConfig(PredictorConfig):
    """Embedding and convolution over the last tokens."""

    name = "stateless"

    context_size: int = option(2, "tokens that the predictor sees", minimum=1)
    icefall_predictor: bool = option(
        False,
        "as in icefall: blank has an embedding that is trained, zero vectors come before the start, the convolution "
        "has no bias, and with --context-size 1 there is no ReLU",
    )


@dataclass(frozen=True)
class LSTMPredictorConfig(PredictorConfig):
    """Embedding and LSTM layers over all tokens."""

    name = "lstm"

    predictor_layers: int = option(1, "recurrent layers of the predictor", minimum=1)
    lstm_init_scale: float = option(1.0, "factor on the first weights of the LSTM layers", above=0)


# A predictor is made of `(config, vocab_size, blank_id)`; see rnnt/model/predictor.py.
PREDICTORS = Registry("predictor")
PREDICTORS.add(StatelessConfig, "rnnt.model.predictor:StatelessPredictor")
PREDICTORS.add(LSTMPredictorConfig, "rnnt.model.predictor:LSTMPredictor")


@dataclass(frozen=True)
class JoinerConfig:
    """Joiner."""

    joiner_dim: int = option(512, "width of the joiner (J)", minimum=1)
    joiner_activation: str = option("tanh", "activation of the joiner", choices=["tanh", "relu"])
    joiner_dropout: float = option(0.0, "dropout before the joiner's output layer", minimum=0, below=1)
    proj_init_scale: float = option(
        1.0, "factor on the first weights of the projections before the joiner; icefall: 0.25", above=0
    )


@dataclass(frozen=True)
class ModelConfig:
    """Model."""

    encoder: EncoderConfig = component(ENCODERS, "lstm", "kind of encoder")
    predictor: PredictorConfig = component(PREDICTORS, "stateless", "kind of predictor")
    joiner: JoinerConfig = field(default_factory=JoinerConfig)
    transducer: bool = option(True, "predictor and joiner; left out by itself where no loss of --loss needs them")
    num_features: int = option(0, "features per frame (F); 0: as many as the data has", minimum=0)
    vocab_size: int = option(0, "tokens, blank included (V); 0: as many as the tokenizer has", minimum=0)
    blank_id: int | None = option(None, "id of blank (default: the tokenizer's, without data 0)", minimum=0)

    def __post_init__(self) -> None:
        if self.vocab_size and (self.blank_id or 0) >= self.vocab_size:
            raise ValueError("--blank-id must be one of the --vocab-size ids")
