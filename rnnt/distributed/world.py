"""One process or many: how the ranks meet and what they compute together; gloo on CPUs, nccl on GPUs."""

from __future__ import annotations

import datetime
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from rnnt.distributed.device import pick_device
from rnnt.distributed.heartbeat import Heartbeat
from rnnt.distributed.ranks import detect_ranks
from rnnt.errors import UserError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from rnnt.distributed.ranks import RankInfo

_heartbeat: Heartbeat | None = None  # of this process, as torch.distributed has one default group


@dataclass(frozen=True)
class World:
    """This process among all of them."""

    rank: int
    size: int
    device: torch.device
    roster: tuple[str, ...]  # host, process, device and backend of each rank

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum `tensor` over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def start_all_reduce(self, tensor: Tensor) -> dist.Work:
        """Begin to sum `tensor` over the processes, in place; `wait()` on the result completes it."""
        return dist.all_reduce(tensor, async_op=True)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the values that rank 0 has, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, value: Any) -> list[Any]:
        """A list of every process' `value` (anything that pickles), in rank order, on all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def maximum(self, number: int) -> int:
        """The largest of the processes' integers."""
        if self.size == 1:
            return number
        tensor = torch.tensor(number, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return int(tensor)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


def join_world(device: str, port: int = 0, timeout: int = 600) -> World:
    """Join the other processes, if there are any (see `detect_ranks`).

    Args:
        device: `auto`, `cpu` or `cuda`.
        port: where rank 0 listens, if the environment does not say; 0: as `detect_ranks` chooses.
        timeout: seconds after which ranks that do not come, or fall silent later, end this one with an error.
    """
    info = detect_ranks(port)
    if info is None or info.size == 1:
        chosen = _use(pick_device(device))
        return World(0, 1, chosen, (_describe(chosen, "alone"),))
    chosen = _use(pick_device(device, info.local_rank))
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    store = _open_store(info, timeout)
    roster = _meet(store, info, _describe(chosen, backend), timeout)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", store),
        rank=info.rank,
        world_size=info.size,
        timeout=datetime.timedelta(seconds=timeout),
    )
    global _heartbeat
    hosts = [line.split(",")[0] for line in roster]
    _heartbeat = Heartbeat(dist.PrefixStore("heartbeat", _connect(info, False, timeout)), info.rank, hosts, timeout)
    return World(info.rank, info.size, chosen, tuple(roster))


def _use(device: torch.device) -> torch.device:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _describe(device: torch.device, backend: str) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    named = f"{device} ({name})" if device.type == "cuda" else name
    return f"{socket.gethostname()}, process {os.getpid()}, {named}, {backend}"


def _connect(info: RankInfo, is_master: bool, timeout: int) -> dist.Store:
    # Under torchrun its agent holds the store; another attempt of the same agent must not see the keys of the last.
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        info.address,
        info.port,
        is_master=is_master and not agent,
        timeout=datetime.timedelta(seconds=timeout),
        wait_for_workers=False,
    )
    return dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _open_store(info: RankInfo, timeout: int) -> dist.Store:
    try:
        return _connect(info, info.rank == 0, timeout)
    except (RuntimeError, ValueError) as error:
        address, reason = f"{info.address}:{info.port}", one_line(error)
        if info.rank == 0:
            raise UserError(
                f"rank 0 can't listen at {address} ({reason}); is the port in use, or MASTER_ADDR another machine? "
                "--master-port chooses another port"
            ) from None
        raise UserError(
            f"rank {info.rank} on {socket.gethostname()} can't reach rank 0 at {address} within {timeout} s "
            f"({reason}); set MASTER_ADDR to an address of rank 0's machine that this one reaches"
        ) from None


def _meet(store: dist.Store, info: RankInfo, description: str, timeout: int) -> list[str]:
    """Wait for all ranks; returns their descriptions, in rank order."""
    store.set(f"rank {info.rank}", description)
    keys = [f"rank {rank}" for rank in range(info.size)]
    try:
        store.wait(keys, datetime.timedelta(seconds=timeout))
        return [store.get(key).decode() for key in keys]
    except RuntimeError:
        try:
            missing = [key for key in keys if not store.check([key])]
        except RuntimeError:
            missing = keys[:1]  # the store is with rank 0
        raise UserError(
            f"{', '.join(missing)} did not come to {info.address}:{info.port} within {timeout} s (--dist-timeout); "
            f"{info.size - len(missing)} of {info.size} are there"
        ) from None


def explain_failure(error: Exception) -> Exception:
    """What to raise instead of `error` where another rank caused it; otherwise tells the other ranks of `error`."""
    if _heartbeat is None:
        return error
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        lost = _heartbeat.find_lost_rank()
        if lost:
            return UserError(f"{lost}; this rank ends too")
    _heartbeat.announce(error if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
    return error


def leave_world() -> None:
    """Undo `join_world`."""
    global _heartbeat
    if _heartbeat is not None:
        _heartbeat.stop()
        _heartbeat = None
    if dist.is_initialized():
        dist.destroy_process_group()
