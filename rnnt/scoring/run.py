"""What score.py prints: the error rate of a file, tables of experiments, their comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnnt.files import atomic_write
from rnnt.scoring.by_field import rates_by, read_field
from rnnt.scoring.delay import delays, read_timed
from rnnt.scoring.glm import Glm, read_glm
from rnnt.scoring.normalize import normalize
from rnnt.scoring.pages.two_systems import write_compare_page
from rnnt.scoring.report import score_best
from rnnt.scoring.table import compare_table, compared_sets, rate_table, result_table
from rnnt.scoring.transcripts import read_pair


@dataclass(frozen=True)
class WerSettings:
    """How texts are scored.

    Attributes:
        unit: what is counted, `word` or `char`.
        steps: of `rnnt.scoring.normalize`, applied to all texts.
        glm: file of spelling variants, applied after them, or None.
        other_refs: files of further references.
        details: file to write with confusions and the errors of each utterance, or None.
        by: field of the manifest by whose values rates are shown too, or None.
        manifest: file that has it.
    """

    unit: str = "word"
    steps: Sequence[str] = ()
    glm: str | None = None
    other_refs: Sequence[str] = ()
    details: str | None = None
    by: str | None = None
    manifest: str | None = None


def run_wer(ref: str, hyp: str, settings: WerSettings) -> None:
    """Print Kaldi's summary lines of a file of references and one of hypotheses, and rates by a field.

    Raises:
        UserError: a file can't be read, or does not fit the others.
    """
    glm = read_glm(settings.glm) if settings.glm else Glm({})

    def clean(texts: Mapping[str, str]) -> dict[str, str]:
        return {key: glm.apply(normalize(text, settings.steps)) for key, text in texts.items()}

    refs, hyps = read_pair(ref, hyp)
    others = [read_pair(path, hyp)[0] for path in settings.other_refs]
    report = score_best([clean(refs), *map(clean, others)], clean(hyps), settings.unit)
    rows = None
    if settings.by and settings.manifest:
        rows = rates_by(report, read_field(settings.manifest, settings.by, report.refs))
    if settings.details:
        with atomic_write(settings.details) as file:
            file.writelines(f"{line}\n" for line in report.error_lines())
    print("\n".join(report.summary_lines()))
    if rows:
        print("\n" + "\n".join(rate_table(settings.by or "", settings.unit, rows)))


def run_delay(ref: str, hyp: str) -> None:
    """Print how late the words of a hypothesis are."""
    print("\n".join(delays(read_timed(ref), read_timed(hyp)).lines()))


def run_table(exp_dirs: Sequence[str]) -> None:
    """Print the table of all decoded sets."""
    print("\n".join(result_table(exp_dirs)))


def run_compare(a: str, b: str, html: str | None) -> None:
    """Print the comparison of two experiments, decodes or sets, and write it as a page to the file `html`."""
    sets = compared_sets(a, b)
    print("\n".join(compare_table(sets)))
    if html:
        write_compare_page(html, a, b, sets)
        print(html)
