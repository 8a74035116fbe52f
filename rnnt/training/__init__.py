"""The training loop and what it needs: distributed set-up, checkpoints, averaging, evaluation, metrics."""
