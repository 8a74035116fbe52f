"""The losses as training runs them: tiles with gradients in closed form, on a CPU and, with Triton, on a GPU."""
