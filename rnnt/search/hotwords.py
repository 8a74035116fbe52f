"""Hotwords: phrases that get a bonus, matched by an Aho-Corasick automaton over tokens.

Aho & Corasick, Efficient string matching, CACM 1975. While a phrase is being matched each token gets its share of the
bonus, so that the phrase survives the beam; a match that fails gives it all back, so in the end a hypothesis has
the bonus of exactly the phrases it contains.
"""

from collections import deque

import numpy as np

from rnnt.errors import UserError
from rnnt.search.fusion import MOST_BYTES, TableScorer


def hotword_scorer(phrases, vocab_size):
    """A `TableScorer` for phrases, a list of (tokens, bonus a token). Phrases may overlap; each counts.

    Raises `UserError` when the tables would be too large.
    """
    children, whole, hoped = [{}], [0.0], [0.0]  # of each node: bonus of the phrase that ends, of those that go on
    for tokens, bonus in phrases:
        node = 0
        for depth, token in enumerate(tokens):
            hoped[node] = max(hoped[node], bonus * depth)
            if token not in children[node]:
                children[node][token] = len(children)
                children.append({})
                whole.append(0.0)
                hoped.append(0.0)
            node = children[node][token]
        whole[node] += bonus * len(tokens)
    S = len(children)
    if S * vocab_size * 8 > MOST_BYTES:
        raise UserError(f"the hotwords have {S} states x {vocab_size} tokens, which is too many; take fewer phrases")
    next_SV = np.zeros((S, vocab_size), dtype=np.int32)
    fail, matched, kept, partial = [0] * S, list(whole), [0.0] * S, [0.0] * S
    queue = deque([0])
    while queue:
        node = queue.popleft()
        if node:
            next_SV[node] = next_SV[fail[node]]
            matched[node] += matched[fail[node]]
            # What a longer phrase may bring beyond the shorter ones inside it, which are paid already.
            partial[node] = max(hoped[node] - kept[node], partial[fail[node]])
        for token, child in children[node].items():
            fail[child] = int(next_SV[node, token])
            kept[child] = kept[node] + whole[child]
            next_SV[node, token] = child
            queue.append(child)
    matched_S, partial_S = np.array(matched), np.array(partial)
    score_SV = partial_S[next_SV] - partial_S[:, None] + matched_S[next_SV]
    return TableScorer(0, next_SV, score_SV, -partial_S)
