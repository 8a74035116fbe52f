"""Rescores the sets of a decode, with weights that are given or found on one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.decoding.rescoring.scores import WEIGHTS, text_scorers
from rnnt.decoding.settings import WEIGHTS as FUSION_WEIGHTS
from rnnt.decoding.settings import folder_label, fusion_words
from rnnt.decoding.tuning import combinations, parse_grid, write_grid
from rnnt.distributed.device import pick_device, set_threads
from rnnt.errors import UserError
from rnnt.options import make, to_dict
from rnnt.scoring import score
from rnnt.scoring.bootstrap import wer_interval
from rnnt.scoring.results_dir import read_results_dir, read_utterances, write_results_dir

if TYPE_CHECKING:
    from rnnt.decoding.rescoring.config import RescoreConfig
    from rnnt.scoring.report import Report
    from rnnt.search.config import FusionConfig

# Where no grid is given.
VALUES = {name: ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.8", "1"] for name in WEIGHTS}
VALUES["lodr_lm"] = ["0", "-0.05", "-0.1", "-0.15", "-0.2", "-0.25", "-0.3", "-0.4", "-0.5"]


@dataclass(frozen=True)
class Lists:
    """The n-best lists of a decoded set.

    Attributes:
        folder: of the set.
        utterances: objects of its utterances.jsonl.
        report: of the decode.
        summary: of the decode.
        models: {option of a model: log-probability of each hypothesis, by utterance}.
    """

    folder: Path
    utterances: list[dict[str, Any]]
    report: Report
    summary: dict[str, Any]
    models: dict[str, list[list[float]]]

    def ranked(self, weights: Mapping[str, float], length_norm: bool) -> list[list[tuple[float, int]]]:
        """Per utterance (score, number in the list) of its hypotheses, the best first.

        Args:
            weights: of the models.
            length_norm: rank by score / (tokens + 1).
        """
        found = []
        for u, utterance in enumerate(self.utterances):
            scored = []
            for i, hypothesis in enumerate(utterance.get("nbest", ())):
                total = hypothesis["score"] + sum(weights[name] * self.models[name][u][i] for name in self.models)
                scored.append((total, i))

            def key(one: tuple[float, int], nbest: Sequence[Any] = utterance.get("nbest", ())) -> tuple[float, int]:
                length = len(nbest[one[1]]["tokens"]) + 1 if length_norm else 1
                return -one[0] / length, one[1]

            found.append(sorted(scored, key=key))
        return found

    def rescored(self, ranked: Sequence[Sequence[tuple[float, int]]]) -> Report:
        """The error rates when the first of each list is taken."""
        hyps = dict(self.report.hyps)
        for utterance, order in zip(self.utterances, ranked):
            if order:
                hyps[utterance["id"]] = utterance["nbest"][order[0][1]]["text"]
        speakers = {u["id"]: u["speaker"] for u in self.utterances if u.get("speaker")}
        return score(self.report.refs, hyps, self.summary["unit"], speakers)


def rescore(config: RescoreConfig, fusion: FusionConfig) -> None:
    """Rescore the sets that the options name and print a line for each; with --tune-set find the weights first.

    Raises:
        UserError: there are no n-best lists, or a model can't be used.
    """
    set_threads(config.threads, processes=1)
    decode_dir = Path(config.decode_dir)
    names = config.sets or sorted(path.parent.name for path in decode_dir.glob("*/summary.json"))
    if not names:
        raise UserError(f"{decode_dir}: no decoded set in it; give a folder EXP/decode_...")
    wanted = dict.fromkeys([*names, *([config.tune_set] if config.tune_set else [])])
    sets = {name: read_lists(decode_dir / name) for name in wanted}
    scorers = text_scorers(fusion, pick_device(config.device))
    grid = {}
    if config.tune_set:
        words = config.grid or [f"{WEIGHTS[name]}={','.join(VALUES[name])}" for name in scorers]
        of = "--grid {word}: expected the weight of a model that is given"
        grid = parse_grid(words, {WEIGHTS[name] for name in scorers}, of)
    seconds = {}
    for name, lists in sets.items():
        start = time.perf_counter()
        add_scores(lists, scorers)
        seconds[name] = time.perf_counter() - start
    if config.tune_set:
        fusion = tuned(sets[config.tune_set], grid, config, fusion, decode_dir)
    for name in names:
        write(sets[name], config, fusion, seconds[name])


def read_lists(folder: Path) -> Lists:
    """The n-best lists of a decoded set."""
    report, summary = read_results_dir(folder)
    utterances = read_utterances(folder)
    if not any("nbest" in utterance for utterance in utterances):
        raise UserError(f"{folder}: no n-best lists in it; decode with --nbest and a beam search")
    for utterance in utterances:
        if any("tokens" not in hypothesis for hypothesis in utterance.get("nbest", ())):
            raise UserError(f"{folder}: its n-best lists have no tokens, an earlier version made them; decode again")
    return Lists(folder, utterances, report, summary, {})


def add_scores(lists: Lists, scorers: Mapping[str, Any]) -> None:
    """Let each model score each hypothesis; the same text is scored once."""
    texts = [[tuple(h["tokens"]) for h in utterance.get("nbest", ())] for utterance in lists.utterances]
    distinct = list(dict.fromkeys(text for some in texts for text in some))
    for name, scores in scorers.items():
        known = dict(zip(distinct, scores(distinct)))
        lists.models[name] = [[known[text] for text in some] for some in texts]


def weights_of(fusion: FusionConfig, models: Mapping[str, Any]) -> dict[str, float]:
    """The weight of each model."""
    return {name: getattr(fusion, FUSION_WEIGHTS[name]) for name in models}


def normalizes(config: RescoreConfig, lists: Lists) -> bool:
    """Whether hypotheses are ranked by score / (tokens + 1)."""
    if config.length_norm is not None:
        return config.length_norm
    return bool(lists.summary.get("search", {}).get("length_norm", True))


def tuned(
    lists: Lists, grid: Mapping[str, Sequence[str]], config: RescoreConfig, fusion: FusionConfig, decode_dir: Path
) -> FusionConfig:
    """The options with the weights of the lowest error rate on a set; writes the table and the picture."""
    rows = []
    for chosen in combinations(grid):
        weights = weights_of(with_weights(fusion, chosen), lists.models)
        report = lists.rescored(lists.ranked(weights, normalizes(config, lists)))
        interval = wer_interval(report)
        rows.append({**chosen, **report.summary(), "wer_low": interval.low, "wer_high": interval.high})
    label = f"{config.tune_set}-{decode_dir.name.removeprefix('decode_')}-{'-'.join(grid)}"
    best = write_grid(rows, grid, decode_dir.parent / "tuning" / f"{folder_label([label])}.txt")
    return with_weights(fusion, {name: best[name] for name in grid})


def with_weights(fusion: FusionConfig, chosen: Mapping[str, str]) -> FusionConfig:
    """The options with other weights."""
    try:
        weights = {name.replace("-", "_"): float(value) for name, value in chosen.items()}
        changed: FusionConfig = make(type(fusion), **{**to_dict(fusion), **weights})
    except ValueError:
        raise UserError(f"--grid: {' '.join(chosen.values())}: a weight is not a number") from None
    return changed


def write(lists: Lists, config: RescoreConfig, fusion: FusionConfig, seconds: float) -> None:
    """Write the results of a set beside the decode, and print their line."""
    length_norm = normalizes(config, lists)
    ranked = lists.ranked(weights_of(fusion, lists.models), length_norm)
    report = lists.rescored(ranked)
    utterances = []
    for utterance, order in zip(lists.utterances, ranked):
        if order:
            nbest = [{**utterance["nbest"][i], "score": round(total, 4)} for total, i in order]
            utterance = {**utterance, "score": nbest[0]["score"], "words": nbest[0]["words"], "nbest": nbest}
        utterances.append(utterance)
    words = [lists.folder.parent.name, "rescored", *fusion_words(fusion)]
    if config.length_norm is not None:
        words.append("length-norm" if config.length_norm else "no-length-norm")
    folder = lists.folder.parent.with_name(folder_label(words)) / lists.folder.name
    before = lists.summary
    total = before["decoding_seconds"] + seconds
    keys = ("set", "checkpoint", "device", "threads", "audio_seconds", "search", "fusion", "left_out")
    summary = {key: before[key] for key in keys if key in before}
    summary.update(
        decoding_seconds=round(total, 3),
        rtf=round(total / before["audio_seconds"], 6),
        rescoring={**to_dict(fusion), "length_norm": length_norm, "decode": str(lists.folder)},
    )
    write_results_dir(folder, report, utterances, summary)
    print(f"{folder}: {report.headline()}, before {before['wer']:.2f}", flush=True)
