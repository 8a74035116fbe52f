"""Align transcripts with audio: when each word was said.

Writes words.ctm, tokens.ctm (NIST's CTM), alignments.jsonl (both with confidences), doubtful.tsv (what may be wrong in
transcripts, worst first) and with --textgrids true a TextGrid of each utterance to <exp-dir>/align_<ctc or
transducer>/<set>/.
"""

from collections.abc import Sequence

from rnnt.alignment.config import AlignConfig
from rnnt.checkpoints.config import Selection
from rnnt.cli import program
from rnnt.data.sets.config import FetchConfig
from rnnt.options import make_parser, parse

ALIGN_OPTIONS = (AlignConfig, Selection, FetchConfig)


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Align."""
    options, _ = parse(make_parser(__doc__, *ALIGN_OPTIONS), ALIGN_OPTIONS, argv)

    from rnnt.alignment.run import align_sets

    align_sets(*options)


if __name__ == "__main__":
    main()
