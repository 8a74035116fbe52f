"""Options of the encoders, a class each. Free of torch, so that --help is quick."""

from dataclasses import dataclass
from typing import Any, ClassVar

from rnnt.options import option, to_dict


@dataclass(frozen=True)
class EncoderConfig:
    """What the configurations of all encoders have."""

    name: ClassVar[str]
    # Options that change no weight which was trained: --init-from takes a model where they are others.
    free_options: ClassVar[tuple[str, ...]] = ("dropout",)

    subsampling_factor: int = option(4, "input frames per encoder frame", choices=[2, 4, 8])

    def comparable(self) -> dict[str, Any]:
        """Values by name, in one form where options can say the same in several."""
        return to_dict(self)


@dataclass(frozen=True)
class ChunkChoice:
    """A causal zipformer in use."""

    chunk_size: int = option(
        0,
        "frames (of 20 ms) in a chunk, beyond whose end nothing is seen; -1: the whole utterance; 0: the only size of "
        "the training, or of several the whole utterance",
        minimum=-1,
    )
    left_context_frames: int = option(
        0, "frames before a chunk that it sees; -1: all; 0: the only number of the training", minimum=-1
    )

    def __post_init__(self) -> None:
        if self.left_context_frames and not self.chunk_size:
            raise ValueError("--left-context-frames goes with --chunk-size")


@dataclass(frozen=True)
class AdaptableConfig(EncoderConfig):
    """Encoder that can have adapters."""

    adapter_dim: int = option(
        0,
        "inner width of the adapters in each layer, which then alone learn with --train-modules; for fine-tuning "
        "(--init-from), 16 is usual; 0: no adapters",
        minimum=0,
    )


@dataclass(frozen=True)
class _StackConfig(EncoderConfig):
    """Encoder of equal layers."""

    encoder_dim: int = option(512, "width of the encoder's output (D)", minimum=1)
    encoder_layers: int = option(4, "layers of the encoder", minimum=1)
    dropout: float = option(0.1, "dropout of encoder and predictor", minimum=0, below=1)


@dataclass(frozen=True)
class _ConvolutionStackConfig(_StackConfig, AdaptableConfig):
    """Encoder of equal layers over convolutions."""

    subsampling_channels: int = option(32, "channels of the subsampling convolutions", minimum=1)


@dataclass(frozen=True)
class LSTMConfig(_ConvolutionStackConfig):
    """Convolutions, then LSTM layers, each added to what it reads."""

    name = "lstm"

    encoder_bidirectional: bool = option(False, "read the utterance in both directions (not for streaming)")

    def __post_init__(self) -> None:
        if self.encoder_bidirectional and self.encoder_dim % 2:
            raise ValueError("--encoder-dim must be even for a bidirectional encoder")


@dataclass(frozen=True)
class DeepLSTMConfig(_ConvolutionStackConfig):
    """Convolutions, then projected LSTM and feed-forward layers with normalisation."""

    name = "deep_lstm"

    encoder_hidden_dim: int = option(1024, "cells of a layer, projected to --encoder-dim, which is less", minimum=2)
    feedforward_dim: int = option(2048, "inner width of the feed-forward layers", minimum=1)

    def __post_init__(self) -> None:
        if self.encoder_hidden_dim <= self.encoder_dim:
            raise ValueError("--encoder-hidden-dim must be larger than --encoder-dim, to which it is projected")


@dataclass(frozen=True)
class StackedLSTMConfig(_StackConfig):
    """Joined frames and plain LSTM layers, as in MLPerf."""

    name = "stacked_lstm"
    free_options = (*EncoderConfig.free_options, "lstm_init_scale")

    subsampling_factor: int = option(4, "input frames per encoder frame", choices=[2, 4, 6, 8])
    layers_before_stacking: int = option(2, "layers before the last two-fold joining of frames", minimum=1)
    lstm_init_scale: float = option(1.0, "factor on the first weights of the LSTM layers", above=0)

    def __post_init__(self) -> None:
        if self.layers_before_stacking >= self.encoder_layers:
            raise ValueError("--layers-before-stacking must be less than --encoder-layers")


@dataclass(frozen=True)
class ConformerConfig(_ConvolutionStackConfig):
    """Convolutions, then layers of attention and convolution."""

    name = "conformer"

    feedforward_dim: int = option(2048, "inner width of the feed-forward layers", minimum=1)
    attention_heads: int = option(8, "attention heads, which share --encoder-dim", minimum=1)
    conv_kernel: int = option(31, "frames that a convolution sees, an odd number", minimum=1)

    def __post_init__(self) -> None:
        if self.encoder_dim % (2 * self.attention_heads):
            raise ValueError("--encoder-dim must be a multiple of twice --attention-heads")
        if self.conv_kernel % 2 == 0:
            raise ValueError("--conv-kernel must be odd")
