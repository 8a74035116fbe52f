"""Encoders by name: padded features in, fewer and wider frames out. Padding never changes what an utterance gets."""

from rnnt.model.lstm import LSTMEncoder
from rnnt.model.stacked_lstm import StackedLSTMEncoder

ENCODERS = {"lstm": LSTMEncoder, "stacked_lstm": StackedLSTMEncoder}
