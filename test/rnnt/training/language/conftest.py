"""A small text to train on."""

import numpy as np
import pytest


@pytest.fixture
def lm_argv(toy, tmp_path):
    """`lm_argv(exp_dir, **options)`: words of train_lm.py for a small model of the toy texts."""
    generator = np.random.default_rng(0)
    words = np.array(["one", "two", "three"])
    for name, number in (("train", 60), ("dev", 7)):
        lines = [" ".join(words[generator.integers(0, 3, generator.integers(1, 6))]) for _ in range(number)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")

    def argv(exp_dir, **options):
        values = {
            "text": tmp_path / "train.txt", "dev_text": tmp_path / "dev.txt", "bpe_model": toy / "bpe.model",
            "exp_dir": exp_dir, "token_dir": tmp_path / "tokens", "dim": 8, "layers": 1, "num_epochs": 2,
            "max_tokens": 80, "block_lines": 25, "num_workers": 0, "tensorboard": "false", "threads": 1,
            "device": "cpu", "warmup_steps": 5, "log_interval": 2, "base_lr": 0.01,
            "average_period": 1, **options,
        }  # fmt: skip
        return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    return argv
