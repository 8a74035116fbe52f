"""Language models over tokens, by name; the options are in `rnnt.model.language.config`. Free of torch."""

from rnnt.registry import Registry

# A language model is made of `(config, vocab_size, boundary_id)`, see `rnnt.model.language.base`.
LANGUAGE_MODELS = Registry("language model")
