"""One process or many: the torchrun environment contract, gloo on CPUs and nccl on GPUs."""

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from rnnt.errors import UserError


@dataclass(frozen=True)
class World:
    """This process among all of them."""

    rank: int
    local_rank: int
    size: int
    device: torch.device

    @property
    def is_main(self):
        """Whether this process writes files and logs."""
        return self.rank == 0

    def all_reduce(self, tensor):
        """Sum `tensor` over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def start_all_reduce(self, tensor):
        """Begin to sum `tensor` over the processes, in place; `wait()` on what this returns ends it."""
        return dist.all_reduce(tensor, async_op=True)

    def broadcast(self, tensors):
        """Give every process the values that rank 0 has, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, value):
        """A list of every process' `value` (anything that pickles), in rank order, on all of them."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def maximum(self, number):
        """The largest of the processes' integers."""
        if self.size == 1:
            return number
        tensor = torch.tensor(number, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def barrier(self):
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


def pick_device(name, local_rank=0):
    """The device for `auto`, `cpu` or `cuda`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no GPU is visible to torch; use --device cpu, or look at `nvidia-smi`")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return torch.device("cpu")


def set_threads(threads, processes):
    """CPU threads of this process; 0: the cores divided among the processes of this machine.

    `processes` is how many those are; under torchrun its LOCAL_WORLD_SIZE says so.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads or max(1, cores // processes))


def join_world(device):
    """Join the processes that torchrun's variables (RANK, WORLD_SIZE, ...) describe; alone without them."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    device = pick_device(device, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=size)
    return World(rank, local_rank, size, device)


def leave_world():
    """Undo `join_world`."""
    if dist.is_initialized():
        dist.destroy_process_group()
