"""Decoding of sets: what decode.py runs, from a model and cuts to scored results."""
