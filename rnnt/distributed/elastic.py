"""Run torchrun with a status that says what happened.

    elastic.py --nnodes 2 --nproc-per-node 8 --max-restarts 3 -m rnnt.train ...

All options are torchrun's. SIGTERM and SIGUSR1 reach the ranks, which write a checkpoint; then it ends with 99 (run
again) as train.py does, and with 130 after Ctrl-C. torchrun itself ends with 1 whatever happened. With --max-restarts
all ranks are started again when one is lost, and they continue from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from rnnt.cli import program
from rnnt.distributed.signals import RUN_AGAIN, exit_status
from rnnt.options import HelpFormatter


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Run torchrun."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["-h"], ["--help"]):
        # Without torch, so that it is quick.
        description = f"{__doc__}\ntorchrun --help lists its options."
        argparse.ArgumentParser("elastic.py", description=description, formatter_class=HelpFormatter).parse_args(words)
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun knows SIGTERM alone.
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        torchrun.run(torchrun.parse_args(words))
    except SignalException as error:
        raise SystemExit(exit_status(error.sigval)) from None
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        if codes == {RUN_AGAIN}:  # the signal reached the ranks alone
            raise SystemExit(RUN_AGAIN) from None
        raise


if __name__ == "__main__":
    main()
