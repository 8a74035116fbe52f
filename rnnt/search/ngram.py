"""Token n-gram models as scorers: shallow fusion with a positive scale, LODR's bigram with a negative one.

LODR: Zheng et al., An empirical study of language model integration for transducer based speech recognition, 2022,
https://arxiv.org/abs/2203.16776: subtract a token bigram of the training transcripts, which stands for what the
transducer has learnt of the language itself, and add the language model of the task.
"""

import math

import numpy as np

from rnnt.errors import UserError
from rnnt.search.fusion import MOST_BYTES, TableScorer

START = "<s>"


def ngram_scorer(ngram, pieces, name="the n-gram"):
    """A `TableScorer` of a back-off model.

    ngram: has `order` and `entries` {n-gram, a tuple of pieces: (log10 probability, log10 back-off weight)};
    pieces: the tokens in the order of their ids. Raises `UserError` when a token has no probability (another
    tokenizer) or the tables would be too large.
    """
    ids = {piece: i for i, piece in enumerate(pieces)}
    V = len(pieces)
    missing = [piece for piece in pieces if (piece,) not in ngram.entries and not piece.startswith("<")]
    if missing:
        raise UserError(f"{name}: no probability for token {missing[0]!r}; it was made with another BPE model")
    contexts = [()] + [gram for gram in ngram.entries if len(gram) < ngram.order and _is_context(gram, ids)]
    contexts.sort(key=len)
    if len(contexts) * V * 8 > MOST_BYTES:
        raise UserError(f"{name}: {len(contexts)} histories x {V} tokens are too many; take a lower order")
    number = {context: i for i, context in enumerate(contexts)}
    score_SV = np.full((len(contexts), V), ngram.entries.get(("<unk>",), (-99.0, 0.0))[0], dtype=np.float32)
    next_SV = np.zeros((len(contexts), V), dtype=np.int32)
    by_length = {}
    for gram, (logp, _) in ngram.entries.items():
        if gram[:-1] in number and gram[-1] in ids:
            by_length.setdefault(len(gram), []).append((number[gram[:-1]], ids[gram[-1]], logp, number.get(gram, -1)))
    for n in range(ngram.order):
        rows = np.array([i for i, context in enumerate(contexts) if len(context) == n], dtype=np.int64)
        if n:
            shorter = [_longest(contexts[i][1:], number) for i in rows]
            weights = np.array([_backoff(ngram, contexts[i]) for i in rows], dtype=np.float32)
            score_SV[rows] = score_SV[shorter] + weights[:, None]
            next_SV[rows] = next_SV[shorter]
        arcs = by_length.get(n + 1, [])
        if arcs:
            source, token, logp, target = (np.array(column) for column in zip(*arcs))
            score_SV[source, token] = logp
            known = target >= 0
            next_SV[source[known], token[known]] = target[known]
    score_SV *= math.log(10)
    return TableScorer(number.get((START,), 0), next_SV, score_SV, np.zeros(len(contexts)))


def _is_context(gram, ids):
    return all(token in ids for token in gram[1:]) and (gram[0] in ids or gram[0] == START)


def _longest(context, number):
    """The state of the longest suffix of `context` that is a state."""
    while context not in number:
        context = context[1:]
    return number[context]


def _backoff(ngram, context):
    """Weight (log10) from `context` to its longest suffix that is a state."""
    return ngram.entries[context][1]
