"""What a search returns, and from tokens and frames the words with times and confidences. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from rnnt.text.tokenizer import WORD_START

if TYPE_CHECKING:
    from rnnt.search.config import SearchConfig


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis for one utterance. All logarithms are natural."""

    tokens: tuple[int, ...]  # ids, without blanks
    frames: tuple[int, ...]  # the encoder frame on which each token was emitted; 0 is the first
    token_scores: tuple[float, ...]  # the model's log-probability of each token when it was emitted
    confidences: tuple[float, ...]  # of each token, in [0, 1]
    # Log-probability of the hypothesis (greedy search: of its one path; beam searches: of all its paths that the
    # search kept), and what language models, hotwords and length bonus added.
    score: float
    durations: tuple[int, ...] = ()  # frames that each token lasts, where the model says it

    def part(self, begin: int, end: int) -> Hypothesis:
        """Its tokens from one place to another; without a score, which no part has."""
        where = slice(begin, end)
        scores, confidences = self.token_scores[where], self.confidences[where]
        return Hypothesis(self.tokens[where], self.frames[where], scores, confidences, 0.0, self.durations[where])

    def followed_by(self, new: Hypothesis, frames: int) -> Hypothesis:
        """With what was found in a chunk that begins on frame `frames` behind it, whose score it takes."""
        return Hypothesis(
            self.tokens + new.tokens,
            self.frames + tuple(frame + frames for frame in new.frames),
            self.token_scores + new.token_scores,
            self.confidences + new.confidences,
            new.score,
        )


NOTHING = Hypothesis((), (), (), (), 0.0)


def rank(hypotheses: Iterable[Hypothesis], config: SearchConfig) -> list[Hypothesis]:
    """The best `config.nbest` hypotheses, best first, by score or by score per token."""
    if config.length_norm:
        ordered = sorted(hypotheses, key=lambda h: h.score / (len(h.tokens) + 1), reverse=True)
    else:
        ordered = sorted(hypotheses, key=lambda h: h.score, reverse=True)
    return ordered[: config.nbest]


@dataclass(frozen=True)
class Word:
    """A word with its start and end in seconds and its confidence, the least of its tokens'."""

    word: str
    start: float
    end: float
    confidence: float


def words(hypothesis: Hypothesis, tokens: Sequence[str], seconds_per_frame: float, begin: float = 0.0) -> list[Word]:
    """The words of a hypothesis.

    A token is placed on the frame where it was emitted, so a word lasts from its first token's frame to the end of its
    last token's: that frame, or as many as the token lasts. A transducer that does not see the future emits somewhat
    late.

    Args:
        hypothesis: tokens and frames of one utterance.
        tokens: the token of each id.
        seconds_per_frame: seconds per encoder frame.
        begin: when the utterance begins, in seconds.
    """
    found: list[Word] = []
    columns = hypothesis.tokens, hypothesis.frames, hypothesis.durations, hypothesis.confidences
    for token_id, frame, lasts, confidence in zip_longest(*columns, fillvalue=1):
        token = tokens[token_id]
        text = token.removeprefix(WORD_START)
        start, end = begin + frame * seconds_per_frame, begin + (frame + max(lasts, 1)) * seconds_per_frame
        if token.startswith(WORD_START) or not found:
            found.append(Word(text, start, end, confidence))
        else:
            last = found[-1]
            # A mark without letters begins the word, but its text starts with the next token.
            first = last.start if last.word else start
            found[-1] = Word(last.word + text, first, end, min(last.confidence, confidence))
    return [word for word in found if word.word]
