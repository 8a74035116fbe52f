"""Encoders by name: padded features in, fewer and wider frames out. Padding never changes what an utterance gets."""

from rnnt.model.conformer import ConformerEncoder
from rnnt.model.deep_lstm import DeepLSTMEncoder
from rnnt.model.lstm import LSTMEncoder
from rnnt.model.stacked_lstm import StackedLSTMEncoder

ENCODERS = {
    "lstm": LSTMEncoder,
    "deep_lstm": DeepLSTMEncoder,
    "stacked_lstm": StackedLSTMEncoder,
    "conformer": ConformerEncoder,
}
