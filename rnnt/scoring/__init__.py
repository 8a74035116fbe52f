"""Scoring: one alignment of references and hypotheses, and all that is derived from it.

`score` makes a `Report` from texts; `trn` reads and writes the files.
"""


def score(refs, hyps, unit="word", speakers=None):
    """See `rnnt.scoring.report.score`."""
    from rnnt.scoring.report import score as make_report

    return make_report(refs, hyps, unit, speakers)
