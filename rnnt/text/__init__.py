"""Tokenizers and token n-grams. Import the modules; the package itself loads nothing."""
