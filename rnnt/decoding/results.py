"""What is written about a decoded set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.scoring import score
from rnnt.scoring.results_dir import left_out_text, write_results_dir
from rnnt.search.result import words

if TYPE_CHECKING:
    from rnnt.data.dataset import Batch
    from rnnt.search.result import Hypothesis


def describe_utterance(
    batch: Batch,
    i: int,
    nbest: Sequence[Hypothesis],
    texts: Sequence[str],
    tokens: Sequence[str],
    seconds_per_frame: float,
) -> dict[str, Any]:
    """The object of utterance i of a batch in utterances.jsonl, with the texts `ref` and `hyp`.

    Times are in seconds, scores natural logarithms.

    Args:
        batch: holds the utterance.
        i: its number in the batch.
        nbest: its hypotheses, best first.
        texts: of the hypotheses.
        tokens: the token of each id.
        seconds_per_frame: seconds per encoder frame.
    """
    best, key = nbest[0], batch.ids[i]

    def place(hypothesis: Hypothesis) -> list[dict[str, Any]]:
        return [
            {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
            for w in words(hypothesis, tokens, seconds_per_frame)
        ]

    # A batch names the utterance where the speaker isn't known.
    speaker = batch.speakers[i] if batch.speakers[i] != key else None
    utterance: dict[str, Any] = {
        "id": key,
        "speaker": speaker,
        "seconds": round(batch.durations[i], 3),
        "audio": batch.audio[i],
    }
    utterance.update(score=round(best.score, 4), words=place(best))
    if len(nbest) > 1:
        utterance["nbest"] = [
            {"score": round(h.score, 4), "text": text, "tokens": [tokens[i] for i in h.tokens], "words": place(h)}
            for h, text in zip(nbest, texts)
        ]
    return {**utterance, "ref": batch.texts[i], "hyp": texts[0]}


def write_results(
    folder: Path, name: str, unit: str, heads: Sequence[dict[str, Any]], utterances: Sequence[dict[str, Any]]
) -> None:
    """Score a decoded set, write its folder and print its line.

    Args:
        folder: of the results.
        name: of the set.
        unit: `word` or `char`.
        heads: those of its shards, see `rnnt.scoring.shards`.
        utterances: as `describe_utterance` makes them.
    """
    refs = {utterance["id"]: utterance["ref"] for utterance in utterances}
    hyps = {utterance["id"]: utterance["hyp"] for utterance in utterances}
    speakers = {utterance["id"]: utterance["speaker"] for utterance in utterances if utterance["speaker"]}
    report = score(refs, hyps, unit, speakers)
    audio = round(sum(utterance["seconds"] for utterance in utterances), 3)
    seconds = sum(head["seconds"] for head in heads)
    key = heads[0]["key"]
    summary = {
        "set": name,
        "checkpoint": key["checkpoint"],
        **heads[0]["facts"],
        "audio_seconds": audio,
        "decoding_seconds": round(seconds, 3),
        "rtf": round(seconds / audio, 6),
        "search": key["search"],
        "fusion": key["fusion"],
    }
    left_out = heads[0].get("left_out")
    if left_out is not None:
        summary["left_out"] = left_out
    about = [{k: v for k, v in utterance.items() if k not in ("ref", "hyp")} for utterance in utterances]
    write_results_dir(folder, report, about, summary)
    print(f"{folder}: {report.headline()} RTF {summary['rtf']:.4f}", flush=True)
    if left_out:
        print(f"{folder}: {left_out_text(left_out)}", flush=True)
