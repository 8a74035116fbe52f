"""Train a transducer.

    train.py --config conf/train.yaml --exp-dir exp/lstm  one process
    train.py ... --world-size 4                           four on this machine
    srun --ntasks-per-node 8 train.py ...                 many, in a Slurm job
    torchrun --nnodes 2 --nproc-per-node 8 -m rnnt.train ...  many machines

Started again with the same --exp-dir it continues by itself, in the middle of an epoch too. SIGTERM, SIGUSR1 and
Ctrl-C lead to a checkpoint and status 99 (130 after Ctrl-C).
"""

from collections.abc import Callable, Sequence
from typing import Any

from rnnt.cli import program
from rnnt.distributed.launch import launch
from rnnt.distributed.signals import Interruption
from rnnt.options import make_parser, parse
from rnnt.training.config import Options
from rnnt.training.observers import Observer

# Options that a program adds to those of the training, and what makes an observer of them and the `Options`.
Extension = tuple[type, Callable[[Any, Options], Observer | None]]


def run_rank(options: Options, observers: Sequence[Observer], interruption: Interruption) -> None:
    """Train on this rank; torch is loaded only now, with the signals caught before."""
    from rnnt.training.run import run

    run(options, observers, interruption)


@program
def main(argv: Sequence[str] | None = None, *, extensions: Sequence[Extension] = (), doc: str | None = None) -> None:
    """Entry of `train.py`, and of programs that train with observers of their own.

    Args:
        argv: the words of the command line.
        extensions: further options, and the observers that they make; observers must pickle.
        doc: text of `--help`.
    """
    classes = [Options, *(config for config, _ in extensions)]
    (options, *own), _ = parse(make_parser(doc or __doc__, *classes), classes, argv)
    made = [make(config, options) for config, (_, make) in zip(own, extensions)]
    observers = [observer for observer in made if observer is not None]
    launch(run_rank, (options, observers), options.train.world_size, options.train.master_port)


if __name__ == "__main__":
    main()
