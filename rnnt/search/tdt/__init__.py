"""Searches of a token-and-duration transducer, which jump as many frames as a token or blank lasts."""
