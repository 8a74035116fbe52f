"""The folder of one decoded set: what decode.py writes and score.py reads.

ref.trn, hyp.trn (sclite's form), wer (Kaldi's summary lines), errors.txt (confusions and aligned errors),
utterances.jsonl (an object an utterance: id, speaker, seconds, audio, score, words with times and confidences,
n-best list), report.html (to look at) and summary.json.
"""

import json
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_write, read_json, write_json
from rnnt.scoring.bootstrap import wer_interval
from rnnt.scoring.page import write_page
from rnnt.scoring.report import score
from rnnt.scoring.trn import read_texts, write_trn


def write_folder(folder, report, utterances, summary):
    """Write the files of a `Report`. summary.json comes last, so that a folder that has it is whole.

    utterances: list of objects for utterances.jsonl, which must have an `id`; summary: what summary.json has besides
    the numbers of the report and the 95 % interval of its error rate. Returns the whole summary.
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
    numbers.update(groups=interval.groups, drawn=interval.drawn)
    summary = {**report.summary(), **numbers, **summary}
    write_page(folder / "report.html", report, utterances, summary, "/".join(folder.parts[-3:]))
    write_json(folder / "summary.json", summary)
    return summary


def read_folder(folder):
    """(`Report`, summary) of a folder that `write_folder` wrote; `UserError` when it is no such folder."""
    folder = Path(folder)
    summary = read_json(folder / "summary.json")
    speakers = {u["id"]: u["speaker"] for u in read_utterances(folder) if u.get("speaker")}
    refs, hyps = read_texts(folder / "ref.trn"), read_texts(folder / "hyp.trn")
    return score(refs, hyps, summary["unit"], speakers), summary


def read_utterances(folder):
    """The objects of utterances.jsonl; `UserError` when it is missing or broken."""
    path = Path(folder) / "utterances.jsonl"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}; decode again") from None
    except ValueError:
        raise UserError(f"{path}: not valid JSON lines; decode again") from None


def decoded_sets(exp_dirs):
    """A list with {(method, set): folder} of each experiment. Raises `UserError` where one has none."""
    found = []
    for exp_dir in exp_dirs:
        folders = [path.parent for path in sorted(Path(exp_dir).glob("decode_*/*/summary.json"))]
        if not folders:
            raise UserError(f"{exp_dir}: no decode_*/<set>/summary.json in it; run decode.py first")
        found.append({(f.parent.name.removeprefix("decode_"), f.name): f for f in folders})
    return found
