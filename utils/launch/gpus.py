"""The GPUs of this machine."""

import os
import subprocess


def visible() -> "list[str]":
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them; [] where there are none."""
    limited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if limited is not None:
        return [name.strip() for name in limited.split(",") if name.strip() and name.strip() != "-1"]
    try:
        listing = subprocess.check_output(["nvidia-smi", "-L"], stderr=subprocess.DEVNULL, universal_newlines=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(i) for i, line in enumerate(line for line in listing.splitlines() if line.startswith("GPU "))]
