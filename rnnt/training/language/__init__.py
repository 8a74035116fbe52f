"""The task of a language model."""
