"""benchmarks/gpu.sh: every step of it runs, at small sizes on a CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_step_runs_at_small_sizes():
    pytest.importorskip("triton")
    command = [ROOT / "benchmarks/gpu.sh", "--toy"]
    done = subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    for title in ("losses", "MLPerf training step", "Zipformer step", "decoding"):
        assert f"== {title}" in done.stdout
    assert "modified beam" in done.stdout and "utt/s" in done.stdout
