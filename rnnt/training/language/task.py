"""The task of a language model: lines of text, measured by the perplexity of a dev text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from rnnt.data.dataset import Batches
from rnnt.errors import UserError
from rnnt.model.objectives.base import Loss
from rnnt.model.trainable import Trainable
from rnnt.training.experiment import check_same_kind, check_same_plan, differences
from rnnt.training.language.data import Lines, PlannedLines, plan_dev, plan_lines
from rnnt.training.tasks.base import Evaluation, Plan

if TYPE_CHECKING:
    from rnnt.distributed.world import World
    from rnnt.model.language.base import LanguageModel
    from rnnt.text.packed import PackedText
    from rnnt.training.language.config import LanguageOptions
    from rnnt.training.language.data import TextBatch


class LanguageTraining(Trainable):
    """A language model in training: cross-entropy of every token and of the end of each line."""

    network: LanguageModel

    def __init__(self, network: LanguageModel) -> None:
        super().__init__()
        self.network, self.objectives = network, nn.ModuleDict()

    def forward(self, lines: Lines, step: int) -> Loss:
        """Minus the logarithm of the probability of all lines."""
        return Loss(-self.network.token_scores(*lines).sum())

    def searched(self) -> LanguageModel:
        """The language model."""
        return self.network

    def describe(self) -> str:
        """What is minimised."""
        return "cross-entropy"


@dataclass(frozen=True)
class LanguageData:
    """The texts by name, `train` and `dev`, and the file of the tokenizer."""

    texts: dict[str, PackedText]
    bpe_model: str


@dataclass(frozen=True)
class Perplexity:
    """The perplexity of a text: exp(nll / count); ends of lines count as tokens, and as words."""

    nll: float
    tokens: int
    words: int
    lines: int

    @property
    def per_token(self) -> float:
        """Over tokens."""
        return _exp(self.nll / (self.tokens + self.lines))

    @property
    def per_word(self) -> float:
        """Over words, so that models with other tokens compare."""
        return _exp(self.nll / (self.words + self.lines))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


class LanguageTask:
    """See `Task`.

    Args:
        options: of the run.
        model: on the device of the world.
        data: what it is trained and measured on.
        fingerprint: what a checkpoint must share with this run.
    """

    unit: ClassVar[tuple[str, str]] = ("tokens", "tokens")
    target, scans = 0.0, False

    def __init__(
        self, options: LanguageOptions, model: LanguageTraining, data: LanguageData, fingerprint: dict[str, Any]
    ) -> None:
        self.options, self.model, self.data, self.fingerprint = options, model, data, fingerprint

    def plan(self, epoch: int, group: int) -> tuple[Plan, PlannedLines]:
        """See `plan_lines`."""
        text = self.data.texts["train"]
        plan = plan_lines(text.lengths, self.options.batch, epoch)
        return plan, PlannedLines(text, plan)

    def weight(self, micro_batch: np.ndarray) -> int:
        """Its tokens, with the ends of lines."""
        return int(self.data.texts["train"].lengths[micro_batch].sum()) + len(micro_batch)

    def inputs(self, batch: TextBatch, device: torch.device) -> Lines:
        """The tensors, with the tokens on the device."""
        return Lines(batch.y_BS.to(device, non_blocking=True), batch.y_len_B)

    def batch_count(self, step: int, group: int) -> float:
        """Nothing in a language model goes by it."""
        return 0.0

    def evaluate(self, model: LanguageTraining, world: World, before_batch: Callable[[], None]) -> Evaluation:
        """The perplexity of the dev text, the same on every rank and for every number of ranks."""
        text = self.data.texts["dev"]
        nll = total_nll(model.network, text, self.options.batch.max_tokens, world, before_batch)
        found = Perplexity(nll, int(text.lengths.sum()), text.words, len(text))
        line = (
            f"dev perplexity {found.per_token:.2f} per token, {found.per_word:.2f} per word ({found.tokens} tokens, "
            f"{found.words} words, {found.lines} lines)"
        )
        numbers = {"perplexity": found.per_token, "word_perplexity": found.per_word}
        record = {f"dev_{name}": value for name, value in numbers.items()}
        return Evaluation(found, [line], numbers, record)

    def check_compatible(self, path: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or tokenizer or, in the middle of an epoch, another plan."""
        check_same_kind(path, stored, wanted)
        found = differences(stored["config"], wanted["config"])
        if stored["tokenizer"] != wanted["tokenizer"]:
            found.append("the SentencePiece model differs")
        if found:
            raise UserError(
                f"{path}: {'; '.join(found)}; choose another --exp-dir or return to the options of that run"
            )
        check_same_plan(path, stored, wanted, "seed, --max-tokens, --max-tokens-line, --block-lines or the texts")


@torch.inference_mode()
def total_nll(
    network: LanguageModel, text: PackedText, max_tokens: int, world: World, before_batch: Callable[[], None]
) -> float:
    """Minus the logarithm of the probability of all lines, added up in the order of the plan."""
    training = network.training
    network.eval()
    plan = plan_dev(text.lengths, max_tokens)
    own = range(world.rank, len(plan), world.size)
    batches = iter(Batches(PlannedLines(text, plan), own))
    sums = {}
    for _ in range(-(-len(plan) // world.size)):
        before_batch()
        batch = next(batches, None)
        if batch is not None:
            scores_BU = network.token_scores(batch.y_BS.to(world.device), batch.y_len_B)
            sums[batch.position] = -float(scores_BU.double().sum())
    network.train(training)
    gathered = {position: nll for part in world.gather(sums) for position, nll in part.items()}
    return sum(gathered[position] for position in sorted(gathered))
