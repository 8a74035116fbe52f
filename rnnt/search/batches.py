"""A search over batches of features, as training and decoding run it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from rnnt.search import search
from rnnt.search.stepper import TransducerLike

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Hypothesis


class FeatureBatch(Protocol):
    """Padded features and their lengths."""

    x_BTF: Tensor
    x_len_B: Tensor


BatchT = TypeVar("BatchT", bound=FeatureBatch)

TOGETHER_GPU = 1024


def utterances_together(device: torch.device) -> int:
    """Batches are searched together until they have this many utterances.

    A search on a GPU takes about as long for many utterances as for a few.
    """
    return TOGETHER_GPU if device.type == "cuda" else 1


class EncodingTransducer(TransducerLike, Protocol):
    """A transducer with its encoder."""

    def encode(self, x_BTF: Tensor, x_len_B: Tensor, /) -> tuple[Tensor, Tensor]:
        """Padded features and their lengths -> encoder output h (B, T, D) and its lengths (B,)."""


@torch.inference_mode()
def decode_batches(
    model: EncodingTransducer,
    batches: Iterable[BatchT],
    config: SearchConfig,
    device: torch.device,
    scorers: Iterable[tuple[Scorer, float]] = (),
) -> Iterator[tuple[BatchT, list[list[Hypothesis]], int]]:
    """Yield `(batch, n-best lists, encoder frames)` for each batch. The caller sets evaluation mode."""
    scorers = list(scorers)
    together = utterances_together(device)
    waiting: list[BatchT] = []
    encoded: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        waiting.append(batch)
        encoded.append(model.encode(batch.x_BTF.to(device), batch.x_len_B))
        if sum(len(h_len_B) for _, h_len_B in encoded) >= together:
            yield from zip(waiting, *_search_together(model, encoded, config, scorers))
            waiting, encoded = [], []
    yield from zip(waiting, *_search_together(model, encoded, config, scorers))


def _search_together(
    model: EncodingTransducer,
    encoded: list[tuple[Tensor, Tensor]],
    config: SearchConfig,
    scorers: list[tuple[Scorer, float]],
) -> tuple[list[list[list[Hypothesis]]], list[int]]:
    """Search some batches of encoder output as one; the n-best lists and the number of frames of each."""
    if not encoded:
        return [], []
    T = max(h_BTD.shape[1] for h_BTD, _ in encoded)
    padded = [torch.nn.functional.pad(h_BTD, (0, 0, 0, T - h_BTD.shape[1])) for h_BTD, _ in encoded]
    found = iter(search(model, torch.cat(padded), torch.cat([h_len_B for _, h_len_B in encoded]), config, scorers))
    results = [list(islice(found, len(h_len_B))) for _, h_len_B in encoded]
    return results, [int(h_len_B.sum()) for _, h_len_B in encoded]
