"""Searches over the scores of a CTC layer, frame by frame."""
