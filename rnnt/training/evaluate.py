"""How good the model is now: a search on the dev set, shared among the ranks."""

from dataclasses import dataclass

import torch

from rnnt.data.dataset import open_batches
from rnnt.data.plan import plan_evaluation
from rnnt.scoring import score
from rnnt.search import search
from rnnt.search.config import SearchConfig


@dataclass(frozen=True)
class DevResult:
    """What one evaluation found."""

    wer: float  # percent
    summary: str  # Kaldi's %WER line and the CER
    blank_share: float  # blanks among all labels of the greedy paths
    reference: str
    hypothesis: str


@torch.inference_mode()
def decode_batches(model, batches, tokenizer, config, device, scorers=()):
    """Yield `(batch, n-best lists, encoder frames)` for each batch. The caller sets evaluation mode."""
    for batch in batches:
        h_BTD, h_len_B = model.encode(batch.x_BTF.to(device), batch.x_len_B)
        yield batch, search(model, h_BTD, h_len_B, config, scorers), int(h_len_B.sum())


def evaluate(model, manifest, tokenizer, max_duration, world, before_batch=None, config=None, num_workers=0):
    """WER over all of `manifest`, the same on every rank and for every number of ranks, as a `DevResult`.

    max_duration: seconds of audio in a batch; `before_batch()` is called on all ranks alike, equally often; config:
    `SearchConfig` (default: greedy search); num_workers: processes that load features.
    """
    config = config or SearchConfig()
    training = model.training
    model.eval()
    batches = open_batches(manifest, max_duration, None, num_workers, world.rank, world.size)
    refs, hyps, frames, tokens = {}, {}, 0, 0
    decoded = decode_batches(model, batches, tokenizer, config, world.device)
    for _ in range(-(-len(plan_evaluation(manifest.durations, max_duration)) // world.size)):
        if before_batch is not None:
            before_batch()
        batch, nbest, batch_frames = next(decoded, (None, None, None))
        if batch is None:
            continue
        frames += batch_frames
        for utterance, text, hypotheses in zip(batch.ids, batch.texts, nbest):
            refs[utterance] = text
            hyps[utterance] = tokenizer.decode(hypotheses[0].tokens)
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
        summary=report.headline(),
        blank_share=frames / max(frames + tokens, 1),
        reference=refs[sample],
        hypothesis=hyps[sample],
    )
