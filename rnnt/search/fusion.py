"""Scores from outside the transducer that are added to those of tokens: language models, hotwords, a length bonus.

A scorer has, for hypotheses in tensors with N first:

  initial_state(N, device) -> state, a tuple of tensors, before the first token
  scores(state) -> (N, V), natural logarithms (or any bonus) for each next token
  step(token_N, state) -> state
  final(state) -> (N,), added when the utterance ends

`TableScorer` is one for finite automata; a neural language model needs a wrapper with these four methods.
"""

import torch

# Dense tables up to this size; a 3-gram over 500 tokens of 1000 h of speech has about 0.5 GB.
MOST_BYTES = 2 * 2**30


class TableScorer:
    """A deterministic automaton as dense tables: next state and score for each state and token."""

    def __init__(self, start, next_SV, score_SV, final_S):
        self.start_state = start
        self._next_SV = torch.as_tensor(next_SV, dtype=torch.int32)
        self._score_SV = torch.as_tensor(score_SV, dtype=torch.float32)
        self._final_S = torch.as_tensor(final_S, dtype=torch.float32)

    def initial_state(self, N, device):
        """The start state, N times; moves the tables to the device."""
        self._next_SV, self._score_SV, self._final_S = (
            x.to(device) for x in (self._next_SV, self._score_SV, self._final_S)
        )
        return (torch.full((N,), self.start_state, dtype=torch.int64, device=device),)

    def scores(self, state):
        return self._score_SV[state[0]]

    def step(self, token_N, state):
        return (self._next_SV[state[0], token_N].long(),)

    def final(self, state):
        return self._final_S[state[0]]


class Fusion:
    """The weighted sum of scorers and a bonus for every token.

    scorers: list of (scorer, scale); length_bonus: added to each token; blank_id: its score is never changed.
    """

    def __init__(self, scorers, length_bonus, blank_id):
        self._scorers = scorers
        self._length_bonus = length_bonus
        self._blank_id = blank_id

    def start(self, N, device):
        """(scores of the first token (N, V), state), the state one flat tuple of tensors."""
        return self._scored([scorer.initial_state(N, device) for scorer, _ in self._scorers])

    def step(self, token_N, state):
        """(scores of the next token (N, V), state)."""
        return self._scored([s.step(token_N, part) for (s, _), part in zip(self._scorers, self._split(state))])

    def final(self, state):
        """(N,) sum of the final scores."""
        return sum(scale * s.final(part) for (s, scale), part in zip(self._scorers, self._split(state)))

    def _scored(self, states):
        extra_NV = sum(scale * scorer.scores(part) for (scorer, scale), part in zip(self._scorers, states))
        extra_NV = extra_NV + self._length_bonus
        extra_NV[:, self._blank_id] = 0.0
        self._sizes = [len(part) for part in states]
        return extra_NV, tuple(tensor for part in states for tensor in part)

    def _split(self, state):
        parts, start = [], 0
        for size in self._sizes:
            parts.append(state[start : start + size])
            start += size
        return parts


def make_fusion(scorers, config, model):
    """The `Fusion` of (scorer, scale) pairs and the configured length bonus, or None when there is nothing to add."""
    if not scorers and not config.length_bonus:
        return None
    V = model.joiner.output.out_features
    nothing = TableScorer(0, torch.zeros(1, V), torch.zeros(1, V), torch.zeros(1))
    return Fusion(list(scorers) or [(nothing, 1.0)], config.length_bonus, model.blank_id)
