"""The folder of one decoded set: what decode.py writes and score.py reads.

ref.trn, hyp.trn (sclite's form), wer (Kaldi's summary lines), errors.txt (confusions and aligned errors),
utterances.jsonl (one object per utterance: id, speaker, seconds, audio, score, words with times and confidences,
n-best list), report.html (to look at) and summary.json, which also has what of the set was not scored (`left_out`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.errors import UserError, counted
from rnnt.files import atomic_write, read_json, write_json
from rnnt.scoring.bootstrap import wer_interval
from rnnt.scoring.pages.one_system import write_page
from rnnt.scoring.report import score
from rnnt.scoring.transcripts import read_trn, write_trn

if TYPE_CHECKING:
    from rnnt.scoring.report import Report


def write_results_dir(
    folder: str | Path, report: Report, utterances: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the files of a `Report`. summary.json comes last: a folder that has it is complete.

    Args:
        folder: is made.
        report: of the set.
        utterances: objects for utterances.jsonl, each with an `id`.
        summary: what summary.json has beside the numbers of the report and the 95 % interval of its error rate.

    Returns:
        The complete summary.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_trn(folder / "ref.trn", report.refs)
    write_trn(folder / "hyp.trn", report.hyps)
    with atomic_write(folder / "wer") as file:
        file.writelines(f"{line}\n" for line in report.summary_lines())
    with atomic_write(folder / "errors.txt") as file:
        file.writelines(f"{line}\n" for line in report.error_lines())
    with atomic_write(folder / "utterances.jsonl") as file:
        file.writelines(json.dumps(utterance, ensure_ascii=False) + "\n" for utterance in utterances)
    interval = wer_interval(report)
    numbers = {"wer_low": round(interval.low, 4), "wer_high": round(interval.high, 4)}
    complete = {**report.summary(), **numbers, "groups": interval.groups, "drawn": interval.drawn, **summary}
    write_page(folder / "report.html", report, utterances, complete, "/".join(folder.parts[-3:]))
    write_json(folder / "summary.json", complete)
    return complete


def read_results_dir(folder: str | Path) -> tuple[Report, dict[str, Any]]:
    """(`Report`, summary) of a folder that `write_results_dir` wrote; `UserError` when a file is missing or broken."""
    folder = Path(folder)
    summary = read_json(folder / "summary.json")
    speakers = {u["id"]: u["speaker"] for u in read_utterances(folder) if u.get("speaker")}
    refs, hyps = read_trn(folder / "ref.trn"), read_trn(folder / "hyp.trn")
    return score(refs, hyps, summary["unit"], speakers), summary


def read_utterances(folder: str | Path) -> list[dict[str, Any]]:
    """The objects of utterances.jsonl; `UserError` when it is missing or broken."""
    path = Path(folder) / "utterances.jsonl"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}; decode again") from None
    except ValueError:
        raise UserError(f"{path}: not valid JSON lines; decode again") from None


def left_out_text(left_out: Mapping[str, int]) -> str:
    """One line about utterances of a set that are not scored, from `left_out` of summary.json: {reason: number}."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in left_out.items())
    number = sum(left_out.values())
    return f"{counted(number, 'utterance')} {'is' if number == 1 else 'are'} left out and not scored: {reasons}"


def decoded_sets(exp_dirs: Iterable[str | Path]) -> list[dict[tuple[str, str], Path]]:
    """{(decode, set): folder} of each experiment; `UserError` when one has no decoded set.

    A decode is the name of its folder without `decode_`: the method, and the options that are not at their defaults.
    """
    found = []
    for exp_dir in exp_dirs:
        folders = [path.parent for path in sorted(Path(exp_dir).glob("decode_*/*/summary.json"))]
        if not folders:
            raise UserError(f"{exp_dir}: no decode_*/<set>/summary.json in it; run decode.py first")
        found.append({(f.parent.name.removeprefix("decode_"), f.name): f for f in folders})
    return found


def comparable_sets(a_dir: str | Path, b_dir: str | Path) -> list[tuple[str, str, Path, Path]]:
    """[(decode, set, folder of A, folder of B)] of what two results have in common.

    Args:
        a_dir, b_dir: two experiments, of which the same decodes are compared; or two decodes, `EXP/decode_...`, also of
            one experiment, of which the same sets are compared; or two decoded sets, `EXP/decode_.../SET`.

    Raises:
        UserError: they are of different kinds, or have nothing in common.
    """
    a, b = Path(a_dir), Path(b_dir)
    kinds = [_depth(a), _depth(b)]
    if kinds[0] != kinds[1]:
        names = ("a decoded set", "a decode", "an experiment")
        raise UserError(f"{a_dir} is {names[kinds[0]]} and {b_dir} {names[kinds[1]]}; compare two of one kind")
    if kinds[0] == 2:
        a_sets, b_sets = decoded_sets([a_dir, b_dir])
        rows = [(*key, a_sets[key], b_sets[key]) for key in a_sets if key in b_sets]
        if not rows:
            raise UserError(
                f"{a_dir} and {b_dir} have no set in common that was decoded by the same method and options: "
                "decode it, or compare two decodes (EXP/decode_...)"
            )
        return rows
    if kinds[0] == 0:
        pairs = [(a, b)]
    else:
        pairs = [(path.parent, b / path.parent.name) for path in sorted(a.glob("*/summary.json"))]
        pairs = [pair for pair in pairs if (pair[1] / "summary.json").is_file()]
    if not pairs:
        raise UserError(f"{a_dir} and {b_dir} have no set in common; decode the same set with both")
    decodes = [folder.resolve().parent.name.removeprefix("decode_") for folder in pairs[0]]
    title = decodes[0] if decodes[0] == decodes[1] else " / ".join(decodes)
    return [(title, a.name, a, b) for a, b in pairs]


def _depth(folder: Path) -> int:
    """How many folders are between a result and its sets: 0 a set, 1 a decode, 2 (or nothing there) an experiment."""
    if (folder / "summary.json").is_file():
        return 0
    return 1 if any(folder.glob("*/summary.json")) else 2
