"""Hypotheses of a batch as tensors: a hash of the tokens tells equal ones, a prefix tree gives the tokens back."""

import torch

from rnnt.search.result import Hypothesis

ROOT = -1
# Multiplier of the rolling 64-bit hash (odd, from the golden ratio); int64 arithmetic wraps.
HASH_FACTOR = -7046029254386353131


def token_hashes(vocab_size, device):
    """(V,) random int64, the same in every run: two different token sequences share a hash once in 2^64 pairs."""
    generator = torch.Generator().manual_seed(20240229)
    return torch.randint(-(2**63), 2**63 - 1, (vocab_size,), generator=generator).to(device)


def merge_equal(score_NK, hash_NK):
    """Log-add the scores of equal hypotheses.

    The first of them, which must have the best score, gets the sum, the others minus infinity.
    """
    same_NKK = hash_NK[:, :, None] == hash_NK[:, None, :]
    summed_NK = score_NK[:, None, :].where(same_NKK, -torch.inf).logsumexp(dim=2)
    first_NK = same_NKK.byte().argmax(dim=2) == torch.arange(score_NK.shape[1], device=score_NK.device)
    return summed_NK.where(first_NK, -torch.inf)


class Tree:
    """The tokens of all hypotheses ever made. A node is an id; `ROOT` is the empty sequence."""

    def __init__(self):
        self._nodes = []  # of each addition: (2, N x K) parent and token, (2, N x K) log-probability and confidence
        self._frames = []
        self._size = 0

    def add(self, frame, parent_NK, token_NK, logp_NK, confidence_NK):
        """Put a token emitted on `frame` after each node; returns the new nodes (N, K)."""
        self._nodes.append(
            (
                torch.stack((parent_NK, token_NK)).flatten(1),
                torch.stack((logp_NK, confidence_NK)).flatten(1),
            )
        )
        first, self._size = self._size, self._size + parent_NK.numel()
        self._frames += [frame] * parent_NK.numel()
        return torch.arange(first, self._size, device=parent_NK.device).view_as(parent_NK)

    def hypotheses(self, node_BK, score_BK):
        """For each utterance the list of its `Hypothesis`; those with a score of minus infinity are left out."""
        parents = tokens = logps = confidences = []
        if self._nodes:
            ids, values = (torch.cat(tensors, dim=1).tolist() for tensors in zip(*self._nodes))
            (parents, tokens), (logps, confidences) = ids, values
        results = []
        for nodes, scores in zip(node_BK.tolist(), score_BK.tolist()):
            results.append([])
            for node, score in zip(nodes, scores):
                if score == -float("inf"):
                    continue
                path = []
                while node != ROOT:
                    path.append(node)
                    node = parents[node]
                columns = (tokens, self._frames, logps, confidences)
                parts = (tuple(column[i] for i in reversed(path)) for column in columns)
                results[-1].append(Hypothesis(*parts, score))
        return results
