"""Before training: do the micro-batches that need most memory fit?"""

import contextlib
import resource
from pathlib import Path

import torch

from rnnt.errors import UserError
from rnnt.progress import progress
from rnnt.training.gradients import is_out_of_memory


def worst_positions(plan, durations, num_tokens):
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


def count_tokens(manifest, tokenizer):
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

    def __init__(self, device):
        self.device = device
        self.bytes = 0

    def __enter__(self):
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        return self

    def __exit__(self, *_):
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device)
            return
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        peak = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        self.bytes = 1024 * (peak[0] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def scan(trainer, plan, dataset, compute):
    """Compute the loss and the gradients of the worst micro-batches of the plan and log the memory that each needs.

    Weights, statistics, gradients and random state are afterwards as they were before.

    Args:
      trainer: `Trainer`.
      dataset: `PlannedBatches` of the plan.
      compute: function of a `Batch` that runs forward and backward pass.
    Raises:
      UserError: one of them does not fit.
    """
    device = trainer.world.device
    manifest = trainer.manifests["train"]
    positions = worst_positions(plan, manifest.durations, count_tokens(manifest, trainer.tokenizer))
    todo = {}
    for what, position in positions.items():
        todo.setdefault(position, []).append(what)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for position, reasons in todo.items():
            _try(trainer, dataset, position, " and ".join(reasons), compute)


def _try(trainer, dataset, position, reason, compute):
    batch = dataset[position]
    if isinstance(batch, UserError):
        raise batch
    what = (
        f"micro-batch with the {reason}: {len(batch)} utterances, longest {max(batch.durations):.1f} s, "
        f"{int(batch.y_len_B.max())} tokens"
    )
    fits = True
    with PeakMemory(trainer.world.device) as peak:
        try:
            compute(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            fits = False
    trainer.forget_gradients()
    if not fits:
        raise UserError(
            f"{what} does not fit into memory; lower --max-duration (or --batch-size), and leave out the longest "
            "utterances with --max-duration-utt"
        )
    trainer.log.info("scan: %s: %.2f GB", what, peak.bytes / 1e9)
