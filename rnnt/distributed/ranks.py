"""Which rank this process is, of how many, as torchrun or Slurm say. Free of torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_PORT, PORTS = 10000, 20000  # below the range of ports that systems assign by themselves


@dataclass(frozen=True)
class RankInfo:
    """This process among all of them, and where they meet."""

    rank: int
    local_rank: int
    size: int
    local_size: int  # processes on this machine
    address: str
    port: int


def detect_ranks(port: int = 0, environment: Mapping[str, str] = os.environ) -> RankInfo | None:
    """The `RankInfo` of this process; None when it is alone or was started by hand.

    torchrun's variables (RANK, WORLD_SIZE, ...) come first. Without them, those of `srun` are enough: rank 0 is on the
    first machine of the step, and the port follows from the numbers of job and step. MASTER_ADDR and MASTER_PORT (or
    `port`) take precedence, for sites where names of machines do not resolve.
    """
    get = environment.get
    if "WORLD_SIZE" in environment:
        size = int(environment["WORLD_SIZE"])
        return RankInfo(
            rank=int(get("RANK", 0)),
            local_rank=int(get("LOCAL_RANK", 0)),
            size=size,
            local_size=int(get("LOCAL_WORLD_SIZE", size)),
            address=get("MASTER_ADDR", "127.0.0.1"),
            port=int(get("MASTER_PORT", port)),
        )
    # A job script has most of these variables too, but only `srun` sets those of a step.
    if "SLURM_STEP_ID" in environment and int(get("SLURM_NTASKS", 1)) > 1:
        number = 7 * int(get("SLURM_JOB_ID", 0)) + int(environment["SLURM_STEP_ID"])
        hosts = get("SLURM_STEP_NODELIST") or get("SLURM_JOB_NODELIST") or "127.0.0.1"
        counts = tasks_per_node(get("SLURM_STEP_TASKS_PER_NODE") or get("SLURM_TASKS_PER_NODE") or "1")
        return RankInfo(
            rank=int(get("SLURM_PROCID", 0)),
            local_rank=int(get("SLURM_LOCALID", 0)),
            size=int(environment["SLURM_NTASKS"]),
            local_size=counts[min(int(get("SLURM_NODEID", 0)), len(counts) - 1)],
            address=get("MASTER_ADDR") or first_host(hosts),
            port=int(get("MASTER_PORT") or port or FIRST_PORT + number % PORTS),
        )
    return None


def first_host(hosts: str) -> str:
    """The first name of a Slurm list of hosts: `gpu[03-07,9],cpu1` -> `gpu03`, `r[1-2]n[4,5]` -> `r1n4`."""
    first, *_ = re.findall(r"(?:[^,\[]|\[[^\]]*\])+", hosts)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)


def tasks_per_node(text: str) -> list[int]:
    """Slurm's numbers of tasks, node by node: `2(x3),1` -> [2, 2, 2, 1]."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return counts


def cores_of_process(info: RankInfo | None, processes: int) -> int:
    """CPU cores per process: of those that this one may run on, or of those that Slurm gave to its task.

    Args:
        info: what `detect_ranks` found.
        processes: on this machine, if `info` is None.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sharing = info.local_size if info else processes
    if "SLURM_STEP_ID" in os.environ and "SLURM_CPUS_PER_TASK" in os.environ:
        cores = min(cores, int(os.environ["SLURM_CPUS_PER_TASK"]))
        if int(os.environ.get("SLURM_NTASKS", 1)) > 1:
            sharing = 1  # each process is a task
    return max(1, cores // sharing)
