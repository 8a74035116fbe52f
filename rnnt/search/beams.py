"""What the batched beam searches share: beams in tensors, and the loop over frames."""

from dataclasses import dataclass

import torch

from rnnt.search.context import Context, entropy_confidence
from rnnt.search.prefixes import HASH_FACTOR, ROOT, Tree, merge_equal, token_hashes
from rnnt.search.result import rank


@dataclass(frozen=True)
class Beam:
    """K hypotheses for each of N utterances. Empty slots have the score minus infinity."""

    score_NK: torch.Tensor
    hash_NK: torch.Tensor
    node_NK: torch.Tensor  # in the `Tree`
    context: Context  # of N x K hypotheses

    def head(self, n):
        """The first n utterances."""
        K = self.score_NK.shape[1]
        return Beam(self.score_NK[:n], self.hash_NK[:n], self.node_NK[:n], self.context[: n * K])

    def select(self, slot_NK):
        """The hypotheses in the given slots of each utterance."""
        N, K = self.score_NK.shape
        row_NK = slot_NK + torch.arange(0, N * K, K, device=slot_NK.device)[:, None]
        parts = (part.gather(1, slot_NK) for part in (self.score_NK, self.hash_NK, self.node_NK))
        return Beam(*parts, self.context[row_NK.flatten()])


@dataclass(frozen=True)
class Run:
    """What stays the same while a batch is searched."""

    stepper: object
    config: object
    tree: Tree
    table_V: torch.Tensor  # hashes of tokens

    def grow(self, beam, t, logp_NKV, score_NK, pick_NK):
        """Take the steps `pick_NK`, numbers in the flattened (K, V) of each utterance, best first.

        logp_NKV: the model's log-probabilities on frame t; score_NK: the scores after the steps. A blank leaves the
        tokens as they are. Equal hypotheses are merged.
        """
        blank, V = self.stepper.blank_id, logp_NKV.shape[2]
        parent_NK, token_NK = pick_NK // V, pick_NK % V
        emits_NK = token_NK != blank
        chosen_NK = logp_NKV.flatten(1).gather(1, pick_NK)
        if self.config.confidence == "entropy":
            sure_NK = entropy_confidence(logp_NKV).gather(1, parent_NK)
        else:
            sure_NK = chosen_NK.exp()
        old = beam.select(parent_NK)
        node_NK = self.tree.add(t, old.node_NK, token_NK, chosen_NK, sure_NK).where(emits_NK, old.node_NK)
        hash_NK = (old.hash_NK * HASH_FACTOR + self.table_V[token_NK]).where(emits_NK, old.hash_NK)
        score_NK = merge_equal(score_NK, hash_NK)
        emits_NK = emits_NK & (score_NK > -torch.inf)  # those that were merged into another need no predictor
        context = self.stepper.advance(old.context, token_NK.flatten(), emits_NK.flatten())
        return Beam(score_NK, hash_NK, node_NK, context)


def search_batch(stepper, h_BTD, h_len_B, config, one_frame):
    """Run `one_frame(run, e_NJ, t, beam) -> beam` over all frames; see `rnnt.search.search` for the rest."""
    B, device, K = h_BTD.shape[0], h_BTD.device, config.beam_size
    # Longest first: the utterances that still run are always the first n, and n is known without asking the device.
    length_B, order_B = h_len_B.cpu().sort(descending=True, stable=True)
    lengths = length_B.tolist()
    T = lengths[0] if lengths else 0
    e_BTJ = stepper.joiner.project_encoder(h_BTD[:, :T])[order_B.to(device)] if T else None

    run = Run(stepper, config, Tree(), token_hashes(stepper.vocab_size, device))
    final_BK = torch.full((B, K), -torch.inf, device=device)
    final_BK[:, 0] = 0.0
    node_BK = torch.full((B, K), ROOT, device=device)
    n = sum(length > 0 for length in lengths)
    zeros_NK = torch.zeros(n, K, dtype=torch.int64, device=device)
    beam = Beam(final_BK[:n].clone(), zeros_NK, node_BK[:n].clone(), stepper.start(n * K, device))
    for t in range(T):
        running = sum(length > t for length in lengths[:n])
        if running < n:
            _end(stepper, beam, running, n, final_BK, node_BK)
            n, beam = running, beam.head(running)
        beam = one_frame(run, e_BTJ[:n, t], t, beam)
    _end(stepper, beam, 0, n, final_BK, node_BK)

    results = [None] * B
    for row, hypotheses in zip(order_B.tolist(), run.tree.hypotheses(node_BK, final_BK)):
        results[row] = rank(hypotheses, config)
    return results


def _end(stepper, beam, first, last, final_BK, node_BK):
    """Store scores and nodes of utterances `first` to `last`, which are over."""
    score_NK, final = beam.score_NK, stepper.final(beam.context)
    if final is not None:
        score_NK = score_NK + final.view_as(score_NK)
    final_BK[first:last], node_BK[first:last] = score_NK[first:], beam.node_NK[first:]
