"""Hotwords: phrases that get a bonus, matched by an Aho-Corasick automaton over tokens.

Aho & Corasick, Efficient string matching, CACM 1975. While a phrase is being matched each token gets its part of the
bonus in advance, so that the phrase survives the beam; a match that fails gives all of it back, so in the end a
hypothesis has the bonus of exactly the phrases it contains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from rnnt.errors import UserError
from rnnt.search.fusion import MOST_BYTES, TableScorer


def hotword_scorer(phrases: Iterable[tuple[Sequence[int], float]], vocab_size: int) -> TableScorer:
    """A scorer for phrases, which may overlap; each counts.

    Args:
        phrases: pairs of tokens and bonus per token.
        vocab_size: with blank.

    Raises:
        UserError: when the tables would be too large.
    """
    # Per node: its children, the bonus of the phrase that ends there, and the potential: the most that phrases which
    # continue have had up to there.
    children: list[dict[int, int]] = [{}]
    phrase_bonus, potential = [0.0], [0.0]
    for tokens, bonus_per_token in phrases:
        node = 0
        for depth, token in enumerate(tokens):
            potential[node] = max(potential[node], bonus_per_token * depth)
            if token not in children[node]:
                children[node][token] = len(children)
                children.append({})
                phrase_bonus.append(0.0)
                potential.append(0.0)
            node = children[node][token]
        phrase_bonus[node] += bonus_per_token * len(tokens)
    S = len(children)
    if S * vocab_size * 8 > MOST_BYTES:
        raise UserError(f"the hotwords have {S} states x {vocab_size} tokens, which is too many; take fewer phrases")
    next_SV = np.zeros((S, vocab_size), dtype=np.int32)
    fail = [0] * S  # node of the longest proper suffix
    bonus = list(phrase_bonus)  # of all phrases that end at a node
    prefix_bonus = [0.0] * S  # of the phrases that are prefixes of a node
    advance = [0.0] * S  # bonus paid for a phrase that is being matched
    queue = deque([0])
    while queue:
        node = queue.popleft()
        if node:
            next_SV[node] = next_SV[fail[node]]
            bonus[node] += bonus[fail[node]]
            # What a longer phrase may bring beyond the shorter ones inside it, which are already paid.
            advance[node] = max(potential[node] - prefix_bonus[node], advance[fail[node]])
        for token, child in children[node].items():
            fail[child] = int(next_SV[node, token])
            prefix_bonus[child] = prefix_bonus[node] + phrase_bonus[child]
            next_SV[node, token] = child
            queue.append(child)
    bonus_S, advance_S = np.array(bonus), np.array(advance)
    score_SV = advance_S[next_SV] - advance_S[:, None] + bonus_S[next_SV]
    return TableScorer(0, next_SV, score_SV, -advance_S)
