"""What a search returns. Free of torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis for one utterance.

    tokens: token ids without blanks; frames: the encoder frame on which each token was emitted (0 is the first);
    token_scores: the model's log-probability of each token when it was emitted; confidences: of each token, in [0, 1];
    score: log-probability of the hypothesis (greedy search: of its one path; beam searches: of all its paths that the
    search kept), and what language models, hotwords and length bonus added. All have natural logarithms.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    token_scores: tuple[float, ...]
    confidences: tuple[float, ...]
    score: float


def rank(hypotheses, config):
    """The best `config.nbest` hypotheses, best first, by score or by score a token."""
    if config.length_norm:
        ordered = sorted(hypotheses, key=lambda h: h.score / (len(h.tokens) + 1), reverse=True)
    else:
        ordered = sorted(hypotheses, key=lambda h: h.score, reverse=True)
    return ordered[: config.nbest]
