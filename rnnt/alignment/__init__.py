"""Forced alignment: when each token and word of a known text was said."""
