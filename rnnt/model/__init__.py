"""Encoders, predictors and the joiner, and the transducer that holds them."""
