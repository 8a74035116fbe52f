"""How good the model is now: a search on the dev set, shared among the ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rnnt.data.dataset import Batches, PlannedBatches
from rnnt.data.plan import plan_evaluation
from rnnt.scoring import score
from rnnt.search.batches import decode_batches
from rnnt.search.config import SearchConfig

if TYPE_CHECKING:
    from rnnt.data.manifest import Manifest
    from rnnt.distributed.world import World
    from rnnt.model.transducer import Transducer
    from rnnt.training.data import TrainingData


TOKENS_PER_SECOND = 30  # twice the characters that fast speech has


@dataclass(frozen=True)
class DevResult:
    """What one evaluation found."""

    wer: float  # percent
    cer: float  # percent
    summary: str  # Kaldi's %WER line and the CER
    blank_fraction: float  # blanks among all tokens of the greedy paths
    reference: str
    hypothesis: str


def evaluate(
    model: Transducer,
    data: TrainingData,
    manifest: Manifest,
    max_duration: float,
    world: World,
    before_batch: Callable[[], None] | None = None,
    config: SearchConfig | None = None,
    num_workers: int = 0,
) -> DevResult:
    """WER over all of a dev set, the same on every rank and for every number of ranks.

    Unless the configuration limits the tokens of an utterance, greedy search writes at most `TOKENS_PER_SECOND` times
    the longest duration: an untrained model writes ten for every frame, which makes the first evaluation slow.

    Args:
        model: to be measured.
        data: whose tokenizer and loader are taken.
        manifest: the dev set.
        max_duration: seconds of audio in a batch.
        world: this process among all.
        before_batch: called on all ranks alike, equally often.
        config: of the search (default: greedy search).
        num_workers: processes that load features.
    """
    training = model.training
    model.eval()
    plan = plan_evaluation(manifest.durations, max_duration, manifest.windows())
    own = range(world.rank, len(plan), world.size)
    batches = Batches(PlannedBatches(manifest, plan, data.dev_loader), own, num_workers)
    config = config or SearchConfig()
    if not config.max_sym_per_utt:
        longest = float(manifest.durations.max(initial=1.0))
        config = replace(config, max_sym_per_utt=math.ceil(TOKENS_PER_SECOND * longest))
    decoded = decode_batches(model, batches, config, world.device)
    refs, hyps, frames, tokens = {}, {}, 0, 0
    for _ in range(-(-len(plan) // world.size)):
        if before_batch is not None:
            before_batch()
        found = next(decoded, None)
        if found is None:
            continue
        batch, nbest, batch_frames = found
        frames += batch_frames
        for utterance, text, hypotheses in zip(batch.ids, batch.texts, nbest):
            refs[utterance] = text
            hyps[utterance] = data.tokenizer.decode(hypotheses[0].tokens)
            tokens += len(hypotheses[0].tokens)
    model.train(training)
    parts = world.gather((refs, hyps, frames, tokens))
    refs = {k: v for part in parts for k, v in sorted(part[0].items())}
    hyps = {k: v for part in parts for k, v in part[1].items()}
    frames, tokens = sum(part[2] for part in parts), sum(part[3] for part in parts)
    report = score(refs, hyps)
    sample = min(refs)
    return DevResult(
        wer=report.wer,
        cer=report.cer,
        summary=report.headline(),
        blank_fraction=frames / max(frames + tokens, 1),
        reference=refs[sample],
        hypothesis=hyps[sample],
    )
