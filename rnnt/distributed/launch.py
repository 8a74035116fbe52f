"""Start a function in one process or in many of this machine, and end them together. Free of torch."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import traceback
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from rnnt.cli import use_signal_stack
from rnnt.distributed.ranks import detect_ranks
from rnnt.distributed.signals import INTERRUPTED, Interrupted, Interruption, exit_status, ignore_signals
from rnnt.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.process import BaseProcess

GRACE = 10  # seconds in which the other processes may end by themselves when one has ended badly


def free_port() -> int:
    """A TCP port that no process listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(function: Callable[..., object], arguments: Sequence[Any], world_size: int, port: int = 0) -> None:
    """Run `function(*arguments, interruption)` here, or in `world_size` processes of this machine.

    `interruption` is the `Interruption` of the process. Where the function ends with `Interrupted` the program ends
    with its status. Under torchrun or `srun` the processes already exist and `world_size` is ignored.

    Raises:
        UserError: names the process that failed first; the others have been ended too.
    """
    info = detect_ranks()
    if world_size > 1 and (info is None or info.size == 1):
        _launch_many(function, arguments, world_size, port or free_port())
        return
    with Interruption() as interruption:
        _run(function, arguments, interruption)


def _run(function: Callable[..., object], arguments: Sequence[Any], interruption: Interruption) -> None:
    try:
        function(*arguments, interruption)
    except Interrupted as error:
        raise SystemExit(error.status) from None
    except Exception as error:
        from rnnt.distributed.world import explain_failure

        explained = explain_failure(error)
        if explained is error:
            raise
        raise explained from error
    finally:
        from rnnt.distributed.world import leave_world

        leave_world()


def _run_rank(rank: int, function: Callable[..., object], arguments: Sequence[Any], size: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    use_signal_stack()
    try:
        with Interruption() as interruption:
            _run(function, arguments, interruption)
        ignore_signals()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except UserError as error:
        # An error that every rank meets is printed by rank 0; its end ends the others before they repeat it.
        if rank > 0:
            time.sleep(3)
        print(f"{os.path.basename(sys.argv[0])}: error: rank {rank}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    except Exception:
        # Here and not by the parent, which takes another rank for the first to fail when both end at the same time.
        lines = traceback.format_exc()
        print(f"{os.path.basename(sys.argv[0])}: error: rank {rank}:\n{lines}", file=sys.stderr, end="", flush=True)
        raise SystemExit(1) from None


def _launch_many(function: Callable[..., object], arguments: Sequence[Any], size: int, port: int) -> None:
    children: list[int] = []
    # Python's tracker of shared memory lives through SIGTERM but not SIGUSR1, unless it inherits that it is ignored.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    resource_tracker.ensure_running()
    signal.signal(signal.SIGUSR1, before)

    def pass_on(number: int) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    with Interruption(pass_on) as interruption:
        from torch.multiprocessing import start_processes

        context = start_processes(_run_rank, (function, arguments, size, port), size, join=False, start_method="spawn")
        children += context.pids()
        if interruption.number:
            pass_on(interruption.number)
        failed = _first_to_fail(context.processes)
        if failed is None:
            return
        rank, status = failed
        with contextlib.suppress(Exception):  # only says that some process ended, which is known
            context.join(grace_period=GRACE)
        if interruption.number:
            # A rank that did not yet catch the signal was ended by it, and nothing is lost.
            raise SystemExit(exit_status(interruption.number))
        if status > 0:
            raise SystemExit(status)  # it has printed why
        raise UserError(
            f"rank {rank} (process {children[rank]} on {socket.gethostname()}) was killed by "
            f"{signal.Signals(-status).name}; the others were ended"
        )


def _first_to_fail(processes: Sequence[BaseProcess]) -> tuple[int, int] | None:
    """`(rank, exit status)` of the first process that ends badly; None when all end well.

    Of several that end badly at almost the same time, one that a signal killed: the others failed because it was gone.
    """
    from multiprocessing.connection import wait

    waiting: dict[Any, BaseProcess] = {process.sentinel: process for process in processes}
    while waiting:
        for sentinel in wait(list(waiting)):
            waiting.pop(sentinel).join()
        if any(process.exitcode for process in processes):
            time.sleep(0.5)
            failed = [(rank, process.exitcode) for rank, process in enumerate(processes) if process.exitcode]
            return min(failed, key=lambda item: (item[1] > 0, item[0]))
    return None
