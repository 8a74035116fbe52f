"""Before training: do the micro-batches that need most memory fit?"""

from __future__ import annotations

import contextlib
import logging
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnt.errors import UserError
from rnnt.progress import progress
from rnnt.training.gradients import is_out_of_memory

if TYPE_CHECKING:
    from rnnt.data.dataset import Batch, PlannedBatches


def worst_positions(plan: Sequence[np.ndarray], durations: np.ndarray, num_tokens: np.ndarray) -> dict[str, int]:
    """`{what: position in the plan}` of the micro-batches that need most memory in one way or another.

    Args:
        plan: list of arrays of utterance numbers.
        durations: (N,), seconds of each utterance.
        num_tokens: (N,), tokens of each utterance.
    """
    frames = [len(batch) * durations[batch].max() for batch in plan]
    tokens = [len(batch) * (num_tokens[batch].max() + 1) for batch in plan]
    both = [len(batch) * durations[batch].max() * (num_tokens[batch].max() + 1) for batch in plan]
    longest = [durations[batch].max() for batch in plan]
    sizes = {"most frames": frames, "longest frames": longest, "most tokens": tokens, "most frames x tokens": both}
    return {what: max(range(len(plan)), key=size.__getitem__) for what, size in sizes.items()}


def count_tokens(manifest: Any, tokenizer: Any) -> np.ndarray:
    """Tokens of each utterance of `manifest`, int (N,)."""
    counts = []
    for number in progress(range(len(manifest)), len(manifest), "counting tokens", "utt"):
        supervisions = manifest[number].supervisions
        counts.append(len(tokenizer.encode(supervisions[0].text or "")) if supervisions else 0)
    return torch.tensor(counts).numpy()


class PeakMemory:
    """`with PeakMemory(device) as peak:` ...; then `peak.bytes` is the most memory in use meanwhile.

    On a GPU what torch's tensors took, on a CPU what the process held in main memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
            return
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        self.bytes = 1024 * (peak[0] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def scan(
    plan: Sequence[np.ndarray],
    dataset: PlannedBatches,
    device: torch.device,
    forward_backward: Callable[[Any], None],
    discard_gradients: Callable[[], None],
    log: logging.Logger,
) -> None:
    """Compute the loss and the gradients of the worst micro-batches of the plan and log the memory that each needs.

    Weights, statistics, gradients and random state are afterwards as they were before.

    Args:
        plan: micro-batches of an epoch.
        dataset: that loads them.
        device: where they are computed.
        forward_backward: runs forward and backward pass of a batch.
        discard_gradients: drops what that leaves behind.
        log: of the run.

    Raises:
        UserError: one of them does not fit.
    """
    manifest = dataset.manifest
    positions = worst_positions(plan, manifest.durations, count_tokens(manifest, dataset.tokenizer))
    reasons: dict[int, list[str]] = {}
    for what, position in positions.items():
        reasons.setdefault(position, []).append(what)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for position, found in reasons.items():
            batch = dataset[position]
            if isinstance(batch, UserError):
                raise batch
            what = (
                f"micro-batch with the {' and '.join(found)}: {len(batch)} utterances, longest "
                f"{max(batch.durations):.1f} s, {int(batch.targets()[1].max())} tokens"
            )
            with PeakMemory(device) as peak:
                fits = _fits(forward_backward, batch)
            discard_gradients()
            if not fits:
                raise UserError(
                    f"{what} does not fit into memory; lower --max-duration (or --batch-size), and leave out the "
                    "longest utterances with --max-duration-utt"
                )
            log.info("scan: %s: %.2f GB", what, peak.bytes / 1e9)


def _fits(forward_backward: Callable[[Batch], None], batch: Batch) -> bool:
    try:
        forward_backward(batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
