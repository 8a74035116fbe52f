"""From tokens and frames to words with times and confidences."""

from dataclasses import dataclass

WORD_START = "\u2581"  # SentencePiece's mark before the first piece of a word


@dataclass(frozen=True)
class Word:
    """A word with its start and end in seconds and its confidence, the least of its tokens'."""

    word: str
    start: float
    end: float
    confidence: float


def words(hypothesis, pieces, frame_seconds):
    """The `Word`s of a `Hypothesis`.

    pieces: the token of each id; frame_seconds: distance of two encoder frames. A token is placed on the frame where
    it was emitted, so a word lasts from its first token's frame to the end of its last token's. A transducer that
    does not see the future emits somewhat late.
    """
    found = []
    for token, frame, sure in zip(hypothesis.tokens, hypothesis.frames, hypothesis.confidences):
        piece = pieces[token]
        begins = piece.startswith(WORD_START)
        text = piece.removeprefix(WORD_START)
        start, end = frame * frame_seconds, (frame + 1) * frame_seconds
        if begins or not found:
            found.append(Word(text, start, end, sure))
        else:
            last = found[-1]
            # A mark without letters begins the word, but its text starts with the next piece.
            found[-1] = Word(last.word + text, last.start if last.word else start, end, min(last.confidence, sure))
    return [word for word in found if word.word]
