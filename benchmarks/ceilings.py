"""What a GPU can do at most: bytes per second of a copy, operations per second of matrix products.

    python benchmarks/ceilings.py

Floors of other measurements are computed from these figures, not from data sheets. Medians of events on the device.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch


def median_ms(call: Callable[[], object], repeats: int = 20) -> float:
    """Median of the milliseconds of a call on the device, after three calls to warm up."""
    times = []
    for number in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        if number >= 3:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def main() -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    ms = median_ms(lambda: target.copy_(source))
    print(f"copy: {2 * source.numel() * 4 / ms / 1e9:.2f} TB/s, read and written bytes counted")
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
        ms = median_ms(partial(torch.mm, a, b))
        print(f"matrix product of 8192 x 8192 in {name}: {2 * 8192**3 / ms / 1e9:.0f} TFLOP/s")
    x = torch.zeros(1, device="cuda")
    launch_us = median_ms(lambda: [x.add_(1) for _ in range(1000)])
    print(f"a small kernel after another: {launch_us:.1f} microseconds")


if __name__ == "__main__":
    main()
