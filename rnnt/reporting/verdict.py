"""How a training goes, in words: the rules are here, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnt.reporting.history import History

NOTHING_YET = 90.0  # WER, percent: at and above it, next to nothing is recognised
LEARNT = 70.0  # WER, percent: below it, a training has left the plateau
LOST = 2.0  # a loss or WER that is so many times its best has left what was learnt
WORSE = 1.1  # a WER that is so many times the best one has got worse
SETTLED = 0.03  # a WER that falls by less than this part in `LATELY` epochs has settled
LATELY = 3  # epochs


@dataclass(frozen=True)
class Verdict:
    """`state` is `begun`, `plateau`, `learning`, `settled`, `over-fitting`, `diverged` or `done`; `text` says why."""

    state: str
    text: str


def judge(history: History) -> Verdict:
    """The verdict on a training."""
    wers = [evaluation.wer for evaluation in history.evaluations]
    losses = [loss for _, loss in history.curve(history.losses()[0])] if history.progress else []
    return judge_curves(wers, losses, history.epochs, history.ended)


def judge_curves(
    wers: Sequence[float], losses: Sequence[float] = (), epochs: int = 0, ended: bool | None = None
) -> Verdict:
    """The verdict on curves.

    Args:
        wers: of the dev set after each epoch, percent.
        losses: of training, now and then.
        epochs: that the training is to have; 0: not known.
        ended: whether it came to its end, see `History`.
    """
    best = min(wers, default=float("inf"))
    if wers and best < LEARNT and wers[-1] >= max(LOST * best, best + 20):
        return Verdict("diverged", f"diverged: the WER was {best:.1f} % and is {wers[-1]:.1f} % now; {REMEDY}")
    if _has_risen(losses):
        return Verdict("diverged", f"diverged: the loss was {min(losses):.3g} and is {losses[-1]:.3g} now; {REMEDY}")
    if not wers:
        return Verdict("begun", "has begun: no epoch is complete yet" + _falls(losses))
    if best >= LEARNT and wers[-1] >= NOTHING_YET:
        return Verdict(
            "plateau",
            f"on the plateau: the WER is {wers[-1]:.1f} % after {_epochs(len(wers))}, next to nothing is recognised yet"
            f"{_falls(losses)}. Large corpora stay here for one to two thousand updates; docs/training.md says what "
            "shortens it",
        )
    since = len(wers) - 1 - min(range(len(wers)), key=lambda i: wers[i])
    if since >= LATELY and median(wers[-LATELY:]) >= WORSE * best:
        return Verdict(
            "over-fitting",
            f"over-fitting: the WER was best {_epochs(since)} ago, {best:.1f} %, and is {wers[-1]:.1f} % now"
            f"{_falls(losses)}; decode with --best, add augmentation or data, or make the model smaller",
        )
    if ended or (epochs and len(wers) >= epochs):
        return Verdict("done", f"done: the WER is {wers[-1]:.1f} %, the best was {best:.1f} %")
    if len(wers) > LATELY and min(wers[:-LATELY]) * (1 - SETTLED) <= best:
        return Verdict(
            "settled",
            f"has settled: the WER fell by less than {100 * SETTLED:.0f} % of itself in the last {LATELY} epochs, to "
            f"{best:.1f} %; more epochs will bring little unless the learning rate falls",
        )
    return Verdict("learning", f"learning: the WER is {wers[-1]:.1f} %{_fall_of(wers)}")


REMEDY = "lower --base-lr or raise --warmup-steps, and begin again from an earlier checkpoint"


def _has_risen(losses: Sequence[float]) -> bool:
    """Whether the last values are far above the lowest, so that it is no outlier."""
    return len(losses) >= 5 and min(losses) > 0 and median(losses[-3:]) >= LOST * median(sorted(losses)[:3])


def _falls(losses: Sequence[float]) -> str:
    """A few words on the loss."""
    if len(losses) < 4:
        return ""
    early, late = median(losses[-10:][:3]), median(losses[-3:])
    return f", the loss {'still falls' if late < 0.99 * early else 'does not fall'} ({late:.3g} per token)"


def _fall_of(wers: Sequence[float]) -> str:
    return f", {wers[-2]:.1f} % an epoch ago" if len(wers) > 1 else ""


def _epochs(number: int) -> str:
    return f"{number} epoch" if number == 1 else f"{number} epochs"
