"""One process or many: how they find one another, gloo on CPUs and nccl on GPUs."""

import datetime
import os
import socket
from dataclasses import dataclass

import torch
import torch.distributed as dist

from rnnt.errors import UserError
from rnnt.training.place import cores_of_process, find_place
from rnnt.training.watch import Watch

_watch = None  # of this process, as torch.distributed has one default group


@dataclass(frozen=True)
class World:
    """This process among all of them."""

    rank: int
    local_rank: int
    size: int
    device: torch.device
    roster: tuple[str, ...]  # host, process, device and backend of each rank

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
    """CPU threads of this process; 0: its share of the cores. `processes`: on this machine, if nobody knows better."""
    torch.set_num_threads(threads or cores_of_process(find_place(), processes))


def join_world(device, port=0, timeout=600):
    """Join the other processes, if there are any (see `find_place`).

    Args:
      device: `auto`, `cpu` or `cuda`.
      port: where rank 0 listens, if the environment does not say; 0: as `find_place` chooses.
      timeout: seconds after which ranks that do not come, or fall silent later, end this one with an error.
    """
    place = find_place(port)
    if place is None or place.size == 1:
        device = _take(pick_device(device))
        return World(0, 0, 1, device, (_describe(device, "alone"),))
    device = _take(pick_device(device, place.local_rank))
    backend = "nccl" if device.type == "cuda" else "gloo"
    store = _open_store(place, timeout)
    roster = _meet(store, place, _describe(device, backend), timeout)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("group", store),
        rank=place.rank,
        world_size=place.size,
        timeout=datetime.timedelta(seconds=timeout),
    )
    global _watch
    hosts = [line.split(",")[0] for line in roster]
    _watch = Watch(dist.PrefixStore("watch", _connect(place, False, timeout)), place.rank, hosts, timeout)
    return World(place.rank, place.local_rank, place.size, device, tuple(roster))


def _take(device):
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _describe(device, backend):
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    named = f"{device} ({name})" if device.type == "cuda" else name
    return f"{socket.gethostname()}, process {os.getpid()}, {named}, {backend}"


def _connect(place, is_master, timeout):
    # Under torchrun its agent holds the store; another attempt of the same agent must not see the old one's keys.
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        place.address,
        place.port,
        is_master=is_master and not agent,
        timeout=datetime.timedelta(seconds=timeout),
        wait_for_workers=False,
    )
    return dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _open_store(place, timeout):
    try:
        return _connect(place, place.rank == 0, timeout)
    except (RuntimeError, ValueError) as error:
        where, reason = f"{place.address}:{place.port}", " ".join(str(error).split())[:200]
        if place.rank == 0:
            raise UserError(
                f"rank 0 can't listen at {where} ({reason}); is the port in use, or MASTER_ADDR another machine? "
                "--master-port chooses another port"
            ) from None
        raise UserError(
            f"rank {place.rank} on {socket.gethostname()} can't reach rank 0 at {where} within {timeout} s ({reason}); "
            "set MASTER_ADDR to an address of rank 0's machine that this one reaches"
        ) from None


def _meet(store, place, description, timeout):
    """Wait for all ranks; returns their descriptions."""
    store.set(f"rank {place.rank}", description)
    keys = [f"rank {rank}" for rank in range(place.size)]
    try:
        store.wait(keys, datetime.timedelta(seconds=timeout))
        return [store.get(key).decode() for key in keys]
    except RuntimeError:
        try:
            missing = [key for key in keys if not store.check([key])]
        except RuntimeError:
            missing = keys[:1]  # the store is with rank 0
        raise UserError(
            f"{', '.join(missing)} did not come to {place.address}:{place.port} within {timeout} s (--dist-timeout); "
            f"{place.size - len(missing)} of {place.size} are there"
        ) from None


def explain_failure(error):
    """What to raise instead of `error`, where another rank is behind it; tells the other ranks otherwise."""
    if _watch is None:
        return error
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        loss = _watch.loss()
        if loss:
            return UserError(f"{loss}; this rank ends too")
    _watch.announce(error if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
    return error


def leave_world():
    """Undo `join_world`."""
    global _watch
    if _watch is not None:
        _watch.stop()
        _watch = None
    if dist.is_initialized():
        dist.destroy_process_group()
