"""Checkpoints and what is made of them: averages, first weights, model directories. No training code."""
