"""Hypotheses of a batch as tensors: a hash of the tokens finds equal ones, a prefix tree gives the tokens back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rnnt.search.result import Hypothesis

if TYPE_CHECKING:
    from torch import Tensor

ROOT = -1
# Multiplier of the rolling 64-bit hash (odd, from the golden ratio); int64 arithmetic wraps.
HASH_FACTOR = -7046029254386353131


def token_hashes(vocab_size: int, device: torch.device) -> Tensor:
    """(V,) random int64, the same in every run: two different token sequences share a hash once in 2^64 pairs."""
    generator = torch.Generator().manual_seed(20240229)
    return torch.randint(-(2**63), 2**63 - 1, (vocab_size,), generator=generator).to(device)


def merge_equal(score_NK: Tensor, hash_NK: Tensor) -> Tensor:
    """Log-add the scores of equal hypotheses.

    The first of them, which must have the best score, gets the sum, the others minus infinity.
    """
    same_NKK = hash_NK[:, :, None] == hash_NK[:, None, :]
    summed_NK = score_NK[:, None, :].where(same_NKK, -torch.inf).logsumexp(dim=2)
    first_NK = same_NKK.byte().argmax(dim=2) == torch.arange(score_NK.shape[1], device=score_NK.device)
    return summed_NK.where(first_NK, -torch.inf)


class PrefixTree:
    """The tokens of all hypotheses of a search. A node is an id; `ROOT` is the empty sequence."""

    def __init__(self) -> None:
        # Per addition: (R, N x K) parent, token, frame and, where there are such, duration; (2, N x K) log-probability
        # and confidence.
        self._nodes: list[tuple[Tensor, Tensor]] = []
        self._size = 0

    def add(
        self,
        frame: int | Tensor,
        parent_NK: Tensor,
        token_NK: Tensor,
        logp_NK: Tensor,
        confidence_NK: Tensor,
        duration_NK: Tensor | None = None,
    ) -> Tensor:
        """Put a token emitted on `frame` after each node; return the new nodes (N, K)."""
        frame_NK = frame if isinstance(frame, torch.Tensor) else torch.full_like(parent_NK, frame)
        ids = [parent_NK, token_NK, frame_NK] + ([] if duration_NK is None else [duration_NK])
        self._nodes.append((torch.stack(ids).flatten(1), torch.stack((logp_NK, confidence_NK)).flatten(1)))
        first, self._size = self._size, self._size + parent_NK.numel()
        return torch.arange(first, self._size, device=parent_NK.device).view_as(parent_NK)

    def hypotheses(self, node_BK: Tensor, score_BK: Tensor) -> list[list[Hypothesis]]:
        """Per utterance the list of its `Hypothesis`; those with a score of minus infinity are left out."""
        parents: list[int] = []
        tokens: list[int] = []
        frames: list[int] = []
        durations: list[list[int]] = []  # one list, or none
        logps: list[float] = []
        confidences: list[float] = []
        if self._nodes:
            ids, values = zip(*self._nodes)
            parents, tokens, frames, *durations = torch.cat(ids, dim=1).tolist()
            logps, confidences = torch.cat(values, dim=1).tolist()
        results: list[list[Hypothesis]] = []
        for nodes, scores in zip(node_BK.tolist(), score_BK.tolist()):
            results.append([])
            for node, score in zip(nodes, scores):
                if score == -float("inf"):
                    continue
                path = []
                while node != ROOT:
                    path.append(node)
                    node = parents[node]
                path.reverse()
                results[-1].append(
                    Hypothesis(
                        tokens=tuple(tokens[i] for i in path),
                        frames=tuple(frames[i] for i in path),
                        token_scores=tuple(logps[i] for i in path),
                        confidences=tuple(confidences[i] for i in path),
                        score=score,
                        durations=tuple(lasts[i] for lasts in durations for i in path),
                    )
                )
        return results
