"""Scoring: one alignment of references and hypotheses, and all that is derived from it.

`score` makes a `Report` from texts; `transcripts` reads and writes files of texts, `results_dir` the results of a set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnt.scoring.report import Report


def score(
    refs: Mapping[str, str], hyps: Mapping[str, str], unit: str = "word", speakers: Mapping[str, str] | None = None
) -> Report:
    """See `rnnt.scoring.report.score`."""
    from rnnt.scoring.report import score as make_report

    return make_report(refs, hyps, unit, speakers)
