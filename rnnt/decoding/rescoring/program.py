"""Rank n-best lists anew with language models, not decoding.

    decode.py --exp-dir exp/mine --decode-sets dev test --nbest 12 \\
      --decoding-method modified_beam_search --beam-size 12
    rescore.py --nn-lm exp/lm --tune-set dev \\
      --decode-dir exp/mine/decode_modified_beam_search_beam-12_nbest-12

A hypothesis gets the score of the decode and, times its weight, the logarithm of the probability of its text by each
model, the end of the text included. --tune-set finds the weights: a table, and a picture for one or two, go to
EXP/tuning. The results are those of decode.py, in a folder beside the decode.
"""

from collections.abc import Sequence

from rnnt.cli import program
from rnnt.decoding.rescoring.config import RescoreConfig
from rnnt.options import make_parser, parse
from rnnt.search.config import FusionConfig


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Entry of `rescore.py`."""
    classes = (RescoreConfig, FusionConfig)
    (config, fusion), _ = parse(make_parser(__doc__, *classes), classes, argv)

    from rnnt.decoding.rescoring.run import rescore

    rescore(config, fusion)


if __name__ == "__main__":
    main()
