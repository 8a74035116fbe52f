"""Where this process computes, how precisely, and with how many threads."""

import signal

import torch

from rnnt.distributed.ranks import cores_of_process, detect_ranks
from rnnt.errors import UserError

OF_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; ranks of one machine take its GPUs in turn."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no GPU is visible to torch; use --device cpu, or look at `nvidia-smi`")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return torch.device("cpu")


def set_threads(threads: int, processes: int) -> None:
    """Set the CPU threads of this process.

    Args:
        threads: how many; 0: its part of the cores.
        processes: on this machine; used where neither torchrun nor Slurm says how many there are.
    """
    # Signals are for the main thread, whose handlers have a stack of their own (`rnnt.cli.use_signal_stack`): the
    # threads that compute are made while they are blocked, and inherit that.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OF_CRASHES)
    try:
        torch.set_num_threads(threads or cores_of_process(detect_ranks(), processes))
        torch.ones(1 << 18).sum()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `UserError` where a device can't train in `precision` (fp32, fp16 or bf16)."""
    if device.type != "cpu" or precision == "fp32":
        return
    if precision == "fp16":
        raise UserError("--use-fp16 needs a GPU; on a CPU use --use-bf16, or neither")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(8, 8)(torch.zeros(1, 1, 8))
    except RuntimeError:  # oneDNN makes no such layer on processors without AVX-512
        raise UserError("--use-bf16: this processor computes no LSTM in bfloat16; leave the option out") from None
