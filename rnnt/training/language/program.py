"""Train a language model over the tokens of a recogniser.

    train_lm.py --text books.txt.gz transcripts.txt --dev-text dev.txt \\
      --bpe-model data/lang_bpe_500/bpe.model

The text has an utterance a line, written like the transcripts. All that train.py says of processes, machines and
continued runs holds here, too.
"""

from collections.abc import Sequence

from rnnt.cli import program
from rnnt.distributed.launch import launch
from rnnt.distributed.signals import Interruption
from rnnt.options import make_parser, parse
from rnnt.training.language.config import LanguageOptions
from rnnt.training.observers import Observer


def run_rank(options: LanguageOptions, observers: Sequence[Observer], interruption: Interruption) -> None:
    """Train on this rank; torch is loaded only now, with the signals caught before."""
    from rnnt.training.language.run import run

    run(options, observers, interruption)


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Entry of `train_lm.py`."""
    (options,), _ = parse(make_parser(__doc__, LanguageOptions), [LanguageOptions], argv)
    launch(run_rank, (options, ()), options.train.world_size, options.train.master_port)


if __name__ == "__main__":
    main()
