"""Encoders by name: padded features in, fewer and wider frames out. Padding never changes what an utterance gets.

An encoder is a module made of `(config, num_features)` with the attribute `dim` and the method

    forward(x_BTF, x_len_B) -> h (B, T', D), lengths (B,)

with h zero on padding and T' = ceil(T / subsampling_factor), or what its own method `output_lengths` makes of T, where
it has one. Free of torch, as are the configurations.
"""

from rnnt.model.encoders.config import ConformerConfig, DeepLSTMConfig, LSTMConfig, StackedLSTMConfig
from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.registry import Registry

ENCODERS = Registry("encoder")
ENCODERS.add(LSTMConfig, "rnnt.model.encoders.lstm:LSTMEncoder")
ENCODERS.add(DeepLSTMConfig, "rnnt.model.encoders.deep_lstm:DeepLSTMEncoder")
ENCODERS.add(StackedLSTMConfig, "rnnt.model.encoders.stacked_lstm:StackedLSTMEncoder")
ENCODERS.add(ConformerConfig, "rnnt.model.encoders.conformer:ConformerEncoder")
ENCODERS.add(ZipformerConfig, "rnnt.model.encoders.zipformer.encoder:Zipformer")
