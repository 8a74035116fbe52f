"""Batches of lines of text, and the plan which lines make which micro-batch.

Lines are read block by block, so that a text which does not fit into memory is read almost in order: the blocks of
`block_lines` consecutive lines are shuffled, and so are the micro-batches within each block, which hold lines of
similar length. The plan is a pure function of seed, epoch and the lengths of the lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from rnnt.data.plan import JITTER, cut_batches
from rnnt.errors import UserError, counted

if TYPE_CHECKING:
    from rnnt.text.packed import PackedText
    from rnnt.training.language.config import TextBatchConfig


class Lines(NamedTuple):
    """Padded tokens (B, S), any id as padding, and their lengths (B,)."""

    y_BS: Tensor
    y_len_B: Tensor


@dataclass
class TextBatch:
    """Lines padded to the longest; see `AnyBatch`."""

    position: int
    ids: list[str]  # numbers of the lines that are not blank, from 1
    y_BS: Tensor
    y_len_B: Tensor

    limit: ClassVar[str] = "--max-tokens"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_tokens(self) -> int:
        """Tokens of all lines, with their ends."""
        return int(self.y_len_B.sum()) + len(self)

    @property
    def amount(self) -> float:
        """The same: speed is in tokens."""
        return float(self.num_tokens)

    def part(self, which: slice) -> TextBatch:
        """The lines of the slice `which`, with no more padding than they need."""
        y_len_B = self.y_len_B[which]
        return TextBatch(self.position, self.ids[which], self.y_BS[which, : int(y_len_B.max())], y_len_B)

    def describe(self) -> str:
        """What it is, in a few words."""
        if len(self) == 1:
            return f"line {self.ids[0]} ({self.num_tokens} tokens)"
        return f"{counted(len(self), 'line')}, {self.num_tokens} tokens, longest {int(self.y_len_B.max())}"

    def tensors(self) -> dict[str, Tensor | None]:
        """All that a loss is computed from, by name."""
        return {"y_BS": self.y_BS, "y_len_B": self.y_len_B}

    def pin_memory(self) -> TextBatch:
        """Called by the loader before a copy to a GPU."""
        self.y_BS = self.y_BS.pin_memory()
        return self


class PlannedLines(Dataset):
    """Item i is the micro-batch at position i of the plan.

    Args:
        text: whose lines they are.
        plan: arrays of numbers of lines, one per micro-batch.
    """

    def __init__(self, text: PackedText, plan: Sequence[np.ndarray]) -> None:
        self.text, self.plan = text, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> TextBatch:
        lines = self.plan[position].tolist()
        tokens = [torch.from_numpy(self.text[line]) for line in lines]
        lengths = torch.tensor([len(one) for one in tokens])
        return TextBatch(position, [str(line + 1) for line in lines], pad_sequence(tokens, batch_first=True), lengths)


def plan_lines(lengths: np.ndarray, config: TextBatchConfig, epoch: int) -> list[np.ndarray]:
    """The micro-batches of an epoch.

    Args:
        lengths: (N,), tokens of each line.
        config: the options.
        epoch: from 1; with the seed it fixes every draw.

    Returns:
        int64 arrays of numbers of lines, one per micro-batch; each line that is not too long is in one of them.

    Raises:
        UserError: all lines are too long.
    """
    generator = np.random.default_rng([config.seed, epoch])
    limit = config.max_tokens_line or np.inf
    plan: list[np.ndarray] = []
    for block in generator.permutation(-(-len(lengths) // config.block_lines)):
        first = int(block) * config.block_lines
        own = lengths[first : first + config.block_lines] + 1.0  # with the end of the line
        keys = np.log(own) + JITTER * generator.random(len(own))
        order = np.argsort(keys, kind="stable")
        batches = cut_batches(order[own[order] <= limit + 1], own, config.max_tokens)
        plan += [first + batches[i] for i in generator.permutation(len(batches))]
    if not plan:
        raise UserError(f"no line has at most --max-tokens-line {config.max_tokens_line} tokens; raise it")
    return plan


def plan_dev(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Micro-batches of all lines, from the longest to the shortest: a lack of memory shows at once."""
    return cut_batches(np.argsort(-lengths, kind="stable"), lengths + 1.0, max_tokens)


def lines_fingerprint(config: TextBatchConfig, lengths: np.ndarray) -> str:
    """A hash of everything that the plan depends on, so that a position in it keeps its meaning."""
    key: list[Any] = [config.seed, config.max_tokens, config.max_tokens_line, config.block_lines, len(lengths)]
    return hashlib.sha256(json.dumps(key).encode() + lengths.astype(np.int32).tobytes()).hexdigest()
