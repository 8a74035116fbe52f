"""Options of the model and of its losses. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class ModelConfig:
    """Model."""

    encoder: str = option(
        "lstm",
        "lstm: LSTM layers in sums; deep_lstm: with projection, feed-forward layers and normalisation; stacked_lstm: "
        "joined frames and plain LSTM layers, as in MLPerf; conformer: attention and convolution",
        choices=["lstm", "deep_lstm", "stacked_lstm", "conformer"],
    )
    encoder_dim: int = option(512, "width of the encoder's output (D)")
    encoder_layers: int = option(4, "layers of the encoder")
    encoder_bidirectional: bool = option(False, "lstm: read the utterance in both directions (not for streaming)")
    encoder_hidden_dim: int = option(1024, "deep_lstm: cells of a layer, projected to --encoder-dim, which is less")
    feedforward_dim: int = option(2048, "deep_lstm, conformer: inner width of the feed-forward layers")
    attention_heads: int = option(8, "conformer: heads, which share --encoder-dim")
    conv_kernel: int = option(31, "conformer: frames that its convolutions see, an odd number")
    subsampling_factor: int = option(4, "input frames per encoder frame; 6: stacked_lstm only", choices=[2, 4, 6, 8])
    subsampling_channels: int = option(32, "channels of the subsampling convolutions")
    layers_before_stacking: int = option(2, "layers of stacked_lstm before the last two-fold joining of frames")
    lstm_init_scale: float = option(1.0, "factor on the first weights of stacked_lstm and of the LSTM predictor")
    predictor: str = option("stateless", "kind of predictor", choices=["stateless", "lstm"])
    predictor_dim: int = option(512, "width of the predictor's output")
    predictor_layers: int = option(1, "recurrent layers of the LSTM predictor")
    context_size: int = option(2, "tokens that the stateless predictor sees")
    joiner_dim: int = option(512, "width of the joiner (J)")
    joiner_activation: str = option("tanh", "activation of the joiner", choices=["tanh", "relu"])
    dropout: float = option(0.1, "dropout of encoder and predictor")
    predictor_dropout: float | None = option(None, "dropout of the predictor, where it is another one than --dropout")
    joiner_dropout: float = option(0.0, "dropout before the joiner's output layer")
    num_features: int = option(0, "features a frame (F); 0: as many as the data has")
    vocab_size: int = option(0, "tokens with blank (V); 0: as many as the tokenizer has")
    blank_id: int = option(0, "id of blank")

    def __post_init__(self):
        for name in (
            "encoder_dim",
            "encoder_layers",
            "feedforward_dim",
            "attention_heads",
            "conv_kernel",
            "predictor_dim",
            "predictor_layers",
            "context_size",
            "joiner_dim",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
        if self.encoder_bidirectional and self.encoder != "lstm":
            raise ValueError("--encoder-bidirectional is for --encoder lstm")
        if self.encoder_bidirectional and self.encoder_dim % 2:
            raise ValueError("--encoder-dim must be even for a bidirectional encoder")
        if self.encoder == "deep_lstm" and self.encoder_hidden_dim <= self.encoder_dim:
            raise ValueError("--encoder-hidden-dim must be larger than --encoder-dim, to which it is projected")
        if self.encoder == "conformer" and self.encoder_dim % (2 * self.attention_heads):
            raise ValueError("--encoder-dim must be a multiple of twice --attention-heads")
        if self.conv_kernel % 2 == 0:
            raise ValueError("--conv-kernel must be odd")
        for name in ("dropout", "predictor_dropout", "joiner_dropout"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be in [0, 1)")
        if self.lstm_init_scale <= 0:
            raise ValueError("--lstm-init-scale must be positive")
        if self.encoder == "stacked_lstm":
            if not 1 <= self.layers_before_stacking < self.encoder_layers:
                raise ValueError("--layers-before-stacking must be at least 1 and less than --encoder-layers")
        elif self.subsampling_factor == 6:
            raise ValueError("--subsampling-factor 6 is for --encoder stacked_lstm; the others take 2, 4 or 8")
        if self.vocab_size and not 0 <= self.blank_id < self.vocab_size:
            raise ValueError("--blank-id must be one of the --vocab-size ids")

    def dropout_of_predictor(self):
        """--predictor-dropout, or --dropout where it is not given."""
        return self.dropout if self.predictor_dropout is None else self.predictor_dropout


@dataclass(frozen=True)
class LossConfig:
    """Losses."""

    loss_backend: str = option(
        "auto", "who computes the transducer loss; auto: native", choices=["auto", "k2", "native", "reference"]
    )
    loss: str = option("pruned", "pruned: simple and pruned loss; full: the exact sum", choices=["pruned", "full"])
    prune_range: int = option(5, "symbols a frame that the pruned loss looks at (R)")
    lm_scale: float = option(0.25, "share of the predictor-only scores in the simple loss")
    am_scale: float = option(0.0, "share of the encoder-only scores in the simple loss")
    simple_loss_scale: float = option(0.5, "weight of the simple loss after the warm-up")
    rnnt_type: str = option("regular", "lattice topology", choices=["regular", "modified", "constrained"])
    delay_penalty: float = option(0.0, "penalty per frame of delay of a symbol; 0: none")
    warm_step: int = option(2000, "updates over which the pruned loss takes over from the simple loss")
    ctc_loss_scale: float = option(0.0, "weight of the CTC helper loss; 0: no CTC head")

    def __post_init__(self):
        if self.prune_range < 2:
            raise ValueError("--prune-range must be at least 2")
        if self.ctc_loss_scale < 0 or self.simple_loss_scale < 0:
            raise ValueError("the scales of the losses can't be negative")
        if min(self.lm_scale, self.am_scale) < 0 or self.lm_scale + self.am_scale >= 1:
            raise ValueError("--lm-scale and --am-scale can't be negative and must add up to less than 1")

    def scales(self, step):
        """Weights `(simple, pruned)` at update `step`, as icefall's zipformer recipe ramps them."""
        if self.warm_step <= 0 or step >= self.warm_step:
            return self.simple_loss_scale, 1.0
        done = step / self.warm_step
        return 1.0 - done * (1.0 - self.simple_loss_scale), 0.1 + 0.9 * done
