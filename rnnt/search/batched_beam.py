"""What the batched beam searches share: beams in tensors, and the loop over frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnnt.search.prefixes import HASH_FACTOR, ROOT, PrefixTree, merge_equal, token_hashes
from rnnt.search.result import Hypothesis, rank
from rnnt.search.stepper import HypothesisState, Stepper, entropy_confidence

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig


@dataclass(frozen=True)
class Beam:
    """K hypotheses for each of N utterances. Empty slots have the score minus infinity."""

    score_NK: Tensor
    hash_NK: Tensor  # of the tokens
    node_NK: Tensor  # in the `PrefixTree`
    state: HypothesisState  # of N x K hypotheses

    def head(self, n: int) -> Beam:
        """The first n utterances."""
        K = self.score_NK.shape[1]
        return Beam(self.score_NK[:n], self.hash_NK[:n], self.node_NK[:n], self.state[: n * K])

    def row(self, n: int) -> Beam:
        """One utterance."""
        K = self.score_NK.shape[1]
        one = slice(n, n + 1)
        return Beam(self.score_NK[one], self.hash_NK[one], self.node_NK[one], self.state[n * K : (n + 1) * K])

    def select(self, slot_NK: Tensor) -> Beam:
        """The hypotheses in the given slots of each utterance."""
        N, K = self.score_NK.shape
        row_NK = slot_NK + torch.arange(0, N * K, K, device=slot_NK.device)[:, None]
        return Beam(
            self.score_NK.gather(1, slot_NK),
            self.hash_NK.gather(1, slot_NK),
            self.node_NK.gather(1, slot_NK),
            self.state[row_NK.flatten()],
        )


@dataclass(frozen=True)
class BeamSearch:
    """What stays the same while a batch is searched."""

    stepper: Stepper
    config: SearchConfig
    tree: PrefixTree
    token_hash_V: Tensor

    def log_probs(self, beam: Beam, e_NJ: Tensor) -> Tensor:
        """The model's log-probabilities (N, K, V) of the next token; `e_NJ` is the frame's projected encoder output."""
        N, K = beam.score_NK.shape
        return self.stepper.log_probs(e_NJ[:, None], beam.state.p_NJ.view(N, K, -1))

    def total_scores(self, beam: Beam, logp_NKV: Tensor) -> Tensor:
        """The scores (N, K, V) of the hypotheses after each token, with what the fusion adds."""
        total_NKV = logp_NKV + beam.score_NK[:, :, None]
        if beam.state.fusion_NV is not None:
            total_NKV += beam.state.fusion_NV.view_as(total_NKV)
        return total_NKV

    def extend(self, beam: Beam, t: int, logp_NKV: Tensor, score_NK: Tensor, step_NK: Tensor) -> Beam:
        """Take K steps per utterance. A blank leaves the tokens as they are. Equal hypotheses are merged.

        Args:
            beam: the hypotheses before the steps.
            t: the frame.
            logp_NKV: the model's log-probabilities on this frame.
            score_NK: the scores after the steps, best first.
            step_NK: the steps, as indices into the flattened (K, V) of each utterance.
        """
        blank, V = self.stepper.blank_id, logp_NKV.shape[2]
        parent_NK, token_NK = step_NK // V, step_NK % V
        emits_NK = token_NK != blank
        chosen_NK = logp_NKV.flatten(1).gather(1, step_NK)
        if self.config.confidence == "entropy":
            confidence_NK = entropy_confidence(logp_NKV).gather(1, parent_NK)
        else:
            confidence_NK = chosen_NK.exp()
        old = beam.select(parent_NK)
        node_NK = self.tree.add(t, old.node_NK, token_NK, chosen_NK, confidence_NK).where(emits_NK, old.node_NK)
        hash_NK = (old.hash_NK * HASH_FACTOR + self.token_hash_V[token_NK]).where(emits_NK, old.hash_NK)
        score_NK = merge_equal(score_NK, hash_NK)
        emits_NK = emits_NK & (score_NK > -torch.inf)  # those that were merged into another need no predictor
        state = self.stepper.advance(old.state, token_NK.flatten(), emits_NK.flatten())
        return Beam(score_NK, hash_NK, node_NK, state)


# (search, projected encoder output of frame t (N, J), t, beam before it) -> beam after it
FrameStep = Callable[[BeamSearch, "Tensor", int, Beam], Beam]


def run_frames(
    stepper: Stepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig, one_frame: FrameStep
) -> list[list[Hypothesis]]:
    """Run a batched beam search: call `one_frame` on each frame. See `rnnt.search.search` for the other arguments."""
    B, device, K = h_BTD.shape[0], h_BTD.device, config.beam_size
    # Longest first: the utterances that still run are always the first n, and n is known without asking the device.
    length_B, order_B = h_len_B.cpu().sort(descending=True, stable=True)
    lengths = length_B.tolist()
    T = lengths[0] if lengths else 0
    e_BTJ = stepper.joiner.project_encoder(h_BTD[:, :T])[order_B.to(device)] if T else h_BTD

    search = BeamSearch(stepper, config, PrefixTree(), token_hashes(stepper.vocab_size, device))
    final_BK = torch.full((B, K), -torch.inf, device=device)
    final_BK[:, 0] = 0.0
    node_BK = torch.full((B, K), ROOT, device=device)
    n = sum(length > 0 for length in lengths)
    zeros_NK = torch.zeros(n, K, dtype=torch.int64, device=device)
    beam = Beam(final_BK[:n].clone(), zeros_NK, node_BK[:n].clone(), stepper.start(n * K, device))
    for t in range(T):
        running = sum(length > t for length in lengths[:n])
        if running < n:
            _store_finished(stepper, beam, running, n, final_BK, node_BK)
            n, beam = running, beam.head(running)
        beam = one_frame(search, e_BTJ[:n, t], t, beam)
    _store_finished(stepper, beam, 0, n, final_BK, node_BK)

    results: list[list[Hypothesis]] = [[] for _ in range(B)]
    for row, hypotheses in zip(order_B.tolist(), search.tree.hypotheses(node_BK, final_BK)):
        results[row] = rank(hypotheses, config)
    return results


def _store_finished(stepper: Stepper, beam: Beam, first: int, last: int, final_BK: Tensor, node_BK: Tensor) -> None:
    """Store scores and nodes of utterances `first` to `last`, which have ended, in `final_BK` and `node_BK`."""
    score_NK, final = beam.score_NK, stepper.final(beam.state)
    if final is not None:
        score_NK = score_NK + final.view_as(score_NK)
    final_BK[first:last], node_BK[first:last] = score_NK[first:], beam.node_NK[first:]
