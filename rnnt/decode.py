"""Decode sets with a trained model and score them.

Writes ref.trn, hyp.trn, wer, errors.txt, utterances.jsonl, report.html and summary.json of each set
to <exp-dir>/decode_<decoding-method>/<set>/. Options that are not at their defaults stand in the name too, such as
decode_modified_beam_search_avg-5_beam-8/test, so that decodes never overwrite each other.
"""

from collections.abc import Sequence

from rnnt.cli import program
from rnnt.decoding.settings import DECODE_OPTIONS, DecodeSettings
from rnnt.options import make_parser, parse


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Decode and score."""
    options, _ = parse(make_parser(__doc__, *DECODE_OPTIONS), DECODE_OPTIONS, argv)
    settings = DecodeSettings(*options)

    from rnnt.decoding.run import decode, merge

    (merge if settings.config.merge else decode)(settings)


if __name__ == "__main__":
    main()
