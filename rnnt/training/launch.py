"""Start a function in one process or in many of this machine, and end them together. Free of torch."""

import contextlib
import os
import signal
import socket
import sys
import time
from multiprocessing import resource_tracker

from rnnt.errors import UserError
from rnnt.training.interruption import INTERRUPTED, Interrupted, Interruption, exit_status
from rnnt.training.place import find_place

GRACE = 10  # seconds in which the other processes may end by themselves when one has ended badly


def free_port():
    """A TCP port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def launch(function, arguments, world_size, port=0):
    """Run `function(*arguments, interruption)` here, or in `world_size` processes of this machine.

    `interruption` is the `Interruption` of the process. Where the function ends with `Interrupted` the program ends
    with its status. When one process ends badly the others are ended too, and `UserError` names it. Under torchrun
    or `srun` the processes exist already and `world_size` is not looked at.
    """
    place = find_place()
    if world_size > 1 and (place is None or place.size == 1):
        _launch_many(function, arguments, world_size, port or free_port())
        return
    with Interruption() as interruption:
        _run(function, arguments, interruption)


def _run(function, arguments, interruption):
    try:
        function(*arguments, interruption)
    except Interrupted as error:
        raise SystemExit(error.status) from None
    except Exception as error:
        from rnnt.training.distributed import explain_failure

        better = explain_failure(error)
        if better is error:
            raise
        raise better from error
    finally:
        from rnnt.training.distributed import leave_world

        leave_world()


def _run_rank(rank, function, arguments, size, port):
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    try:
        with Interruption() as interruption:
            _run(function, arguments, interruption)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except UserError as error:
        # What every rank meets, rank 0 says; its end ends the others before they repeat it.
        if rank > 0:
            time.sleep(3)
        print(f"{os.path.basename(sys.argv[0])}: error: rank {rank}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _launch_many(function, arguments, size, port):
    children = []
    # Python's tracker of shared memory lives through SIGTERM but not SIGUSR1, unless it inherits that it is ignored.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    resource_tracker.ensure_running()
    signal.signal(signal.SIGUSR1, before)

    def pass_on(number):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    with Interruption(pass_on) as interruption:
        from torch.multiprocessing import ProcessRaisedException, start_processes

        context = start_processes(_run_rank, (function, arguments, size, port), size, join=False, start_method="spawn")
        children += context.pids()
        if interruption.number:
            pass_on(interruption.number)
        culprit = _first_to_fail(context.processes)
        if culprit is None:
            return
        rank, status = culprit
        try:
            context.join(grace_period=GRACE)
            message = ""
        except ProcessRaisedException as error:
            message = f": {error.msg}"
        except Exception:  # says of some process that it ended, which is known
            message = ""
        if interruption.number:
            # A rank that had not come so far as to catch the signal was ended by it, and nothing is lost.
            raise SystemExit(exit_status(interruption.number))
        if message:
            raise UserError(f"rank {rank} failed and the others were ended{message}")
        if status > 0:
            raise SystemExit(status)  # it has said why
        raise UserError(
            f"rank {rank} (process {children[rank]} on {socket.gethostname()}) was killed by "
            f"{signal.Signals(-status).name}; the others were ended"
        )


def _first_to_fail(processes):
    """`(rank, exit status)` of the first process that ends badly; None when all end well.

    Of several at almost the same time, one that a signal killed: the others failed because it was gone.
    """
    from multiprocessing.connection import wait

    waiting = {process.sentinel: process for process in processes}
    while waiting:
        for sentinel in wait(list(waiting)):
            waiting.pop(sentinel).join()
        if any(process.exitcode for process in processes):
            time.sleep(0.5)
            failed = [(rank, process.exitcode) for rank, process in enumerate(processes) if process.exitcode]
            return min(failed, key=lambda item: (item[1] > 0, item[0]))
    return None
