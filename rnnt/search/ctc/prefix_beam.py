"""Prefix beam search over a CTC layer, batched.

A text y has the probability of all paths that collapse to it. Per text the search keeps b(y), that of the paths so far
which end in blank, and n(y), of those which end in y's last token. On a frame with probabilities p

    b'(y) = (b(y) + n(y)) p(blank)
    n'(y) = n(y) p(last(y)) + p(last(y)) (b(x) + [last(x) != last(y)] n(x))        x: y without its last token

where the last term is also how texts that were not in the beam come in. Sources: Graves 2012, "Supervised Sequence
Labelling with Recurrent Neural Networks", 7.5; Hannun et al. 2014, https://arxiv.org/abs/1408.2873.

Times and scores of tokens are those of the best path of each text, so beside b and n the best path that ends in blank
and the best one that ends in the last token are kept, with their nodes in a `PrefixTree`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from rnnt.search.fusion import advance_where
from rnnt.search.prefixes import HASH_FACTOR, ROOT, PrefixTree, token_hashes
from rnnt.search.result import rank
from rnnt.search.stepper import entropy_confidence

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig
    from rnnt.search.ctc.frames import FrameScores
    from rnnt.search.result import Hypothesis


@dataclass(frozen=True)
class Texts:
    """K texts for each of N utterances. All scores are logarithms; those of an empty slot are minus infinity."""

    blank_NK: Tensor  # b
    token_NK: Tensor  # n
    best_blank_NK: Tensor  # the best path that ends in blank
    best_token_NK: Tensor  # the best path that ends in the last token
    blank_node_NK: Tensor  # nodes of these two
    token_node_NK: Tensor
    last_NK: Tensor  # the last token; blank: none
    hash_NK: Tensor  # of the text
    fused_NK: Tensor  # what the fusion has added

    @property
    def acoustic_NK(self) -> Tensor:
        """log(b + n)."""
        return torch.logaddexp(self.blank_NK, self.token_NK)

    @property
    def best_NK(self) -> Tensor:
        """The score of the best path."""
        return torch.maximum(self.best_blank_NK, self.best_token_NK)

    @property
    def node_NK(self) -> Tensor:
        """The node of the best path."""
        return self.token_node_NK.where(self.best_token_NK > self.best_blank_NK, self.blank_node_NK)

    def head(self, n: int) -> Texts:
        """The first n utterances."""
        return Texts(*(getattr(self, field.name)[:n] for field in fields(self)))

    def gather(self, slot_NK: Tensor) -> Texts:
        """The texts in the given slots."""
        return Texts(*(getattr(self, field.name).gather(1, slot_NK) for field in fields(self)))


def ctc_prefix_beam_search(
    scores: FrameScores, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig
) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`. No host synchronisation inside the loop over frames."""
    B, device, K = h_BTD.shape[0], h_BTD.device, config.beam_size
    # Longest first: the utterances that still run are always the first n.
    length_B, order_B = h_len_B.cpu().sort(descending=True, stable=True)
    lengths = length_B.tolist()
    T = lengths[0] if lengths else 0
    logp_BTV = scores.log_probs(h_BTD[:, :T])[order_B.to(device)] if T else h_BTD
    search = _Search(scores, config, PrefixTree(), token_hashes(scores.vocab_size, device))
    texts, state = search.start(B, K, device)
    score_BK, node_BK = texts.acoustic_NK.clone(), texts.node_NK.clone()
    n = B
    for t in range(T + 1):
        running = sum(length > t for length in lengths[:n])
        if running < n:
            ended = slice(running, n)
            score_BK[ended], node_BK[ended] = search.final(texts, state)[ended], texts.node_NK[ended]
            n, texts = running, texts.head(running)
            state = tuple(part[: n * K] for part in state)
        if n:
            texts, state = search.one_frame(texts, state, logp_BTV[:n, t], t)
    results: list[list[Hypothesis]] = [[] for _ in range(B)]
    for row, hypotheses in zip(order_B.tolist(), search.tree.hypotheses(node_BK, score_BK)):
        results[row] = rank(hypotheses, config)
    return results


@dataclass(frozen=True)
class _Search:
    """What stays the same while a batch is searched."""

    scores: FrameScores
    config: SearchConfig
    tree: PrefixTree
    token_hash_V: Tensor

    def start(self, N: int, K: int, device: torch.device) -> tuple[Texts, tuple[Tensor, ...]]:
        """The empty text in the first slot of each utterance, and the state of the fusion, (N K, ...)."""
        nothing_NK = torch.full((N, K), -torch.inf, device=device)
        certain_NK = nothing_NK.clone()
        certain_NK[:, 0] = 0.0
        root_NK = torch.full((N, K), ROOT, device=device)
        last_NK = torch.full_like(root_NK, self.scores.blank_id)
        hash_NK, fused_NK = torch.zeros_like(root_NK), torch.zeros_like(nothing_NK)
        texts = Texts(
            certain_NK, nothing_NK, certain_NK, nothing_NK, root_NK, root_NK, last_NK, hash_NK, fused_NK
        )  # fmt: skip
        fusion = self.scores.fusion
        if fusion is None or not N:
            return texts, ()
        fusion_XV, state = fusion.start(N * K, device)
        return texts, (fusion_XV, *state)

    def final(self, texts: Texts, state: tuple[Tensor, ...]) -> Tensor:
        """The scores (N, K) of texts that end."""
        total_NK = texts.acoustic_NK + texts.fused_NK
        if self.scores.fusion is not None and state:
            total_NK = total_NK + self.scores.fusion.final(state[1:]).view_as(total_NK)
        return total_NK

    def one_frame(
        self, old: Texts, state: tuple[Tensor, ...], logp_NV: Tensor, t: int
    ) -> tuple[Texts, tuple[Tensor, ...]]:
        """The best K texts after one more frame, and the state of the fusion for them."""
        (N, K), V, blank = old.last_NK.shape, logp_NV.shape[1], self.scores.blank_id
        # Paths that come to a new token: to the last one again only from blank.
        again_NKV = torch.arange(V, device=logp_NV.device) == old.last_NK[:, :, None]
        longer_NKV = old.blank_NK[:, :, None].where(again_NKV, old.acoustic_NK[:, :, None]) + logp_NV[:, None]
        path_NKV = old.best_blank_NK[:, :, None].where(again_NKV, old.best_NK[:, :, None]) + logp_NV[:, None]
        longer_NKV[:, :, blank] = -torch.inf

        # Where they lead to a text that is in the beam, they are added to it.
        parent_NK, has_parent_NK = self._parents(old)
        place_NK = (parent_NK * V + old.last_NK).where(has_parent_NK, blank)
        joining_NK, joining_path_NK = (x.flatten(1).gather(1, place_NK) for x in (longer_NKV, path_NKV))
        joining_path_NK = joining_path_NK.where(has_parent_NK, -torch.inf)
        longer_NKV.flatten(1).scatter_(1, place_NK, -torch.inf)
        blank_N1, last_NK = logp_NV[:, blank, None], logp_NV.gather(1, old.last_NK)
        is_new_NK = joining_path_NK > old.best_token_NK + last_NK
        stay = Texts(
            blank_NK=old.acoustic_NK + blank_N1,
            token_NK=torch.logaddexp(old.token_NK + last_NK, joining_NK),
            best_blank_NK=old.best_NK + blank_N1,
            best_token_NK=torch.maximum(old.best_token_NK + last_NK, joining_path_NK),
            blank_node_NK=old.node_NK,
            token_node_NK=old.token_node_NK,
            last_NK=old.last_NK,
            hash_NK=old.hash_NK,
            fused_NK=old.fused_NK,
        )
        fused_NKV = old.fused_NK[:, :, None] + (state[0].view(N, K, V) if state else torch.zeros_like(longer_NKV))
        total_NX = torch.cat((stay.acoustic_NK + stay.fused_NK, (longer_NKV + fused_NKV).flatten(1)), dim=1)
        slot_NK = total_NX.topk(K, dim=1).indices

        # The best are texts of before (slots below K), or texts with one more token.
        stays_NK = slot_NK < K
        same_NK, place_NK = slot_NK.clamp(max=K - 1), (slot_NK - K).clamp(min=0)
        before_NK = parent_NK.gather(1, same_NK).where(stays_NK, place_NK // V)
        token_NK = old.last_NK.gather(1, same_NK).where(stays_NK, place_NK % V)
        longer, path, fused = (x.flatten(1).gather(1, place_NK) for x in (longer_NKV, path_NKV, fused_NKV))
        again_NK = token_NK == old.last_NK.gather(1, before_NK)
        node_NK = old.blank_node_NK.gather(1, before_NK).where(again_NK, old.node_NK.gather(1, before_NK))
        chosen_NK = logp_NV.gather(1, token_NK)
        if self.config.confidence == "entropy":
            confidence_NK = entropy_confidence(logp_NV)[:, None].expand(N, K)
        else:
            confidence_NK = chosen_NK.exp()
        node_NK = self.tree.add(t, node_NK, token_NK, chosen_NK, confidence_NK)
        hash_NK = old.hash_NK.gather(1, before_NK) * HASH_FACTOR + self.token_hash_V[token_NK]
        kept = stay.gather(same_NK)
        new = Texts(
            blank_NK=kept.blank_NK.where(stays_NK, -torch.inf),
            token_NK=kept.token_NK.where(stays_NK, longer),
            best_blank_NK=kept.best_blank_NK.where(stays_NK, -torch.inf),
            best_token_NK=kept.best_token_NK.where(stays_NK, path),
            blank_node_NK=kept.blank_node_NK.where(stays_NK, node_NK),
            token_node_NK=kept.token_node_NK.where(stays_NK & ~is_new_NK.gather(1, same_NK), node_NK),
            last_NK=token_NK,
            hash_NK=kept.hash_NK.where(stays_NK, hash_NK),
            fused_NK=kept.fused_NK.where(stays_NK, fused),
        )
        return new, self._advance(state, same_NK.where(stays_NK, before_NK), token_NK, ~stays_NK)

    def _parents(self, old: Texts) -> tuple[Tensor, Tensor]:
        """(N, K) the slot of each text without its last token, and whether there is one in the beam."""
        has_token_NK = (old.last_NK != self.scores.blank_id) & (old.acoustic_NK > -torch.inf)
        hash_NKK = old.hash_NK[:, None] * HASH_FACTOR + self.token_hash_V[old.last_NK][:, :, None]
        match_NKK = (hash_NKK == old.hash_NK[:, :, None]) & has_token_NK[:, :, None]
        match_NKK &= (old.acoustic_NK > -torch.inf)[:, None]
        return match_NKK.byte().argmax(dim=2), match_NKK.any(dim=2)

    def _advance(
        self, state: tuple[Tensor, ...], slot_NK: Tensor, token_NK: Tensor, emits_NK: Tensor
    ) -> tuple[Tensor, ...]:
        """The state of the fusion for texts that come from the given slots, with a token more where `emits_NK`."""
        fusion = self.scores.fusion
        if fusion is None or not state:
            return state
        N, K = slot_NK.shape
        row_X = (slot_NK + torch.arange(0, N * K, K, device=slot_NK.device)[:, None]).flatten()
        old = tuple(part[row_X] for part in state)

        def step(token_X: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            fusion_XV, after = fusion.step(token_X, state[1:])
            return (fusion_XV, *after)

        return advance_where(emits_NK.flatten(), token_NK.flatten(), old, step)
