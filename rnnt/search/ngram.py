"""Token n-gram models as scorers: shallow fusion with a positive weight, LODR's bigram with a negative one.

LODR: Zheng et al., An empirical study of language model integration for transducer based speech recognition, 2022,
https://arxiv.org/abs/2203.16776: subtract a token bigram of the training transcripts, which stands for what the
transducer has learnt of the language itself, and add the language model of the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnnt.errors import UserError
from rnnt.search.fusion import MOST_BYTES, TableScorer
from rnnt.text.ngram import BOS, LOG_ZERO, UNKNOWN, Ngram, NgramModel


def ngram_scorer(model: NgramModel, tokens: Sequence[str], name: str = "the n-gram") -> TableScorer:
    """A scorer of a back-off model.

    Args:
        model: n-gram model over tokens.
        tokens: in the order of their ids.
        name: of the model in errors.

    Raises:
        UserError: when a token has no probability (another tokenizer) or the tables would be too large.
    """
    ids = {token: i for i, token in enumerate(tokens)}
    V = len(tokens)
    missing = [token for token in tokens if (token,) not in model.entries and not token.startswith("<")]
    if missing:
        raise UserError(f"{name}: no probability for token {missing[0]!r}; it was made with another BPE model")
    histories: list[Ngram] = [()]
    histories += [gram for gram in model.entries if len(gram) < model.order and _is_history(gram, ids)]
    histories.sort(key=len)
    if len(histories) * V * 8 > MOST_BYTES:
        raise UserError(f"{name}: {len(histories)} histories x {V} tokens are too many; take a lower order")
    states = {history: i for i, history in enumerate(histories)}
    unknown_log10 = model.entries.get((UNKNOWN,), (LOG_ZERO, 0.0))[0]
    score_SV = np.full((len(histories), V), unknown_log10, dtype=np.float32)
    next_SV = np.zeros((len(histories), V), dtype=np.int32)
    # {length of n-gram: arcs (state, token, log10 probability, next state or -1)}
    arcs_by_length: dict[int, list[tuple[int, int, float, int]]] = {}
    for gram, (log10, _) in model.entries.items():
        if gram[:-1] in states and gram[-1] in ids:
            arc = (states[gram[:-1]], ids[gram[-1]], log10, states.get(gram, -1))
            arcs_by_length.setdefault(len(gram), []).append(arc)
    for n in range(model.order):
        rows = np.array([i for i, history in enumerate(histories) if len(history) == n], dtype=np.int64)
        if n:
            shorter = [_backoff_state(histories[i], states) for i in rows]
            weights = np.array([model.entries[histories[i]][1] for i in rows], dtype=np.float32)
            score_SV[rows] = score_SV[shorter] + weights[:, None]
            next_SV[rows] = next_SV[shorter]
        arcs = arcs_by_length.get(n + 1, [])
        if arcs:
            source, token_id, logp, target = (np.array(column) for column in zip(*arcs))
            score_SV[source, token_id] = logp
            known = target >= 0
            next_SV[source[known], token_id[known]] = target[known]
    score_SV *= math.log(10)
    return TableScorer(states.get((BOS,), 0), next_SV, score_SV, np.zeros(len(histories)))


def _is_history(gram: Ngram, ids: dict[str, int]) -> bool:
    return all(token in ids for token in gram[1:]) and (gram[0] in ids or gram[0] == BOS)


def _backoff_state(history: Ngram, states: dict[Ngram, int]) -> int:
    """The state of the longest proper suffix of `history` that is a state."""
    suffix = history[1:]
    while suffix not in states:
        suffix = suffix[1:]
    return states[suffix]
