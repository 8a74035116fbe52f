"""Back-pointers of a beam search that takes one step a frame, for a batch."""

import torch

from rnnt.search.result import Hypothesis


class Trace:
    """For each frame and slot of the beam: the slot it came from, its symbol, log-probability and confidence."""

    def __init__(self, T, B, K, blank, device):
        # Slots that are never written carry a hypothesis on: own slot, blank.
        self._parent_TBK = torch.arange(K, device=device).repeat(T, B, 1)
        self._token_TBK = torch.full((T, B, K), blank, device=device)
        self._logp_TBK = torch.zeros(T, B, K, device=device)
        self._confidence_TBK = torch.zeros(T, B, K, device=device)
        self._blank = blank

    def add(self, t, parent_NK, token_NK, logp_NK, confidence_NK):
        """Record frame t of the first N utterances."""
        N = len(parent_NK)
        self._parent_TBK[t, :N], self._token_TBK[t, :N] = parent_NK, token_NK
        self._logp_TBK[t, :N], self._confidence_TBK[t, :N] = logp_NK, confidence_NK

    def hypotheses(self, score_BK, lengths):
        """For each utterance the list of its `Hypothesis`; slots with a score of minus infinity are left out."""
        parent_TBK, token_TBK, logp_TBK, confidence_TBK = (
            x.cpu().numpy() for x in (self._parent_TBK, self._token_TBK, self._logp_TBK, self._confidence_TBK)
        )
        T, B, K = parent_TBK.shape
        row_B1 = [[row] for row in range(B)]
        slot_BK = [list(range(K)) for _ in range(B)]
        path_TBK, path_logp_TBK, path_confidence_TBK = (x.copy() for x in (token_TBK, logp_TBK, confidence_TBK))
        for t in reversed(range(T)):
            path_TBK[t] = token_TBK[t, row_B1, slot_BK]
            path_logp_TBK[t] = logp_TBK[t, row_B1, slot_BK]
            path_confidence_TBK[t] = confidence_TBK[t, row_B1, slot_BK]
            slot_BK = parent_TBK[t, row_B1, slot_BK]
        results = []
        for b, scores in enumerate(score_BK.tolist()):
            results.append([])
            for k, score in enumerate(scores):
                if score == -float("inf"):
                    continue
                frames = (path_TBK[: lengths[b], b, k] != self._blank).nonzero()[0]
                parts = (path_TBK, path_logp_TBK, path_confidence_TBK)
                tokens, logps, confidences = (tuple(part[frames, b, k].tolist()) for part in parts)
                results[-1].append(Hypothesis(tokens, tuple(frames.tolist()), logps, confidences, score))
        return results
