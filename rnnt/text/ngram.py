"""Token n-gram models: estimation with modified Kneser-Ney smoothing, and the ARPA format.

The estimate is the interpolated one of Chen and Goodman, "An empirical study of smoothing techniques for language
modeling" (1999), section 4.1.6, in the form that KenLM's lmplz uses: the unigrams are interpolated with the uniform
distribution over the vocabulary, and n-grams that begin with `<s>` keep their counts. With c the count of an n-gram hw
(of the lower orders: the number of different tokens seen before it), D the discount for that count and h' the history
h without its first token:

    p(w | h) = (c(hw) - D(c(hw))) / sum_v c(hv) + g(h) p(w | h'),    g(h) = sum_v D(c(hv)) / sum_v c(hv)

g(h) is also the back-off weight, so the ARPA file holds the interpolated model exactly.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_write
from rnnt.text.tokenizer import UNKNOWN

BOS, EOS = "<s>", "</s>"
# Where the counts of counts don't determine the discounts (small vocabularies); lmplz calls it discount fallback.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
LOG_ZERO = -99.0  # ARPA's log10 of 0
DIGITS = 7

Ngram = tuple[str, ...]


class NgramModel:
    """A back-off n-gram model.

    Attributes:
        order: the length of the longest n-grams.
        entries: {n-gram: (log10 probability, log10 back-off weight)}.
    """

    def __init__(self, order: int, entries: dict[Ngram, tuple[float, float]]) -> None:
        self.order = order
        self.entries = entries

    def log_prob(self, token: str, history: Sequence[str] = ()) -> float:
        """Natural logarithm of p(token | history); only the last `order - 1` tokens of the history matter.

        A token outside the vocabulary is scored as `<unk>`, and -inf where the model has none.
        """
        known = tuple(self._known(t) for t in history[max(len(history) - self.order + 1, 0) :])
        token = self._known(token)
        log10 = 0.0
        while True:
            entry = self.entries.get((*known, token))
            if entry is not None:
                return (log10 + entry[0]) * math.log(10)
            if not known:
                return -math.inf
            log10 += self.entries.get(known, (0.0, 0.0))[1]
            known = known[1:]

    def score(self, tokens: Iterable[str]) -> float:
        """Natural logarithm of the probability of a complete sentence, `</s>` included."""
        history, total = [BOS], 0.0
        for token in (*tokens, EOS):
            total += self.log_prob(token, history)
            history.append(token)
        return total

    def _known(self, token: str) -> str:
        return token if (token,) in self.entries else UNKNOWN


def estimate(sentences: Iterable[Sequence[str]], order: int, vocabulary: Iterable[str] = ()) -> NgramModel:
    """Estimate a model.

    Args:
        sentences: lists of tokens.
        order: the length of the longest n-grams.
        vocabulary: tokens that get a probability though they may not occur.

    Raises:
        UserError: when there is no sentence.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    counts = _adjusted_counts(sentences, order)
    if not counts[order]:
        raise UserError("an n-gram model needs text, and there is none; check the transcripts of the training set")
    tokens = {*vocabulary, *(gram[0] for gram in counts[1]), UNKNOWN, EOS} - {BOS}
    probability: dict[Ngram, float] = {(token,): 1 / len(tokens) for token in tokens}  # order 0: uniform
    backoff: dict[Ngram, float] = {}
    everything = dict.fromkeys(probability, 0.0)
    for n in range(1, order + 1):
        lower, probability = probability, {}
        gram_counts = dict(counts[n])
        if n == 1:
            gram_counts = {**dict.fromkeys(everything, 0), **gram_counts}
            gram_counts.pop((BOS,), None)  # only ever a history, never predicted
        discounts = discounts_of(gram_counts.values())
        totals: defaultdict[Ngram, int] = defaultdict(int)
        freed: defaultdict[Ngram, float] = defaultdict(float)
        for gram, count in gram_counts.items():
            totals[gram[:-1]] += count
            freed[gram[:-1]] += discounts[min(count, 3)]
        for gram, count in gram_counts.items():
            history = gram[:-1]
            below = lower[gram[1:]] if n > 1 else lower[gram]
            probability[gram] = (count - discounts[min(count, 3)] + freed[history] * below) / totals[history]
        backoff.update({history: freed[history] / totals[history] for history in totals if history})
        everything.update(probability)
    entries = {gram: (_log10(p), _log10(backoff.get(gram, 1.0))) for gram, p in everything.items()}
    entries[BOS,] = (LOG_ZERO, _log10(backoff.get((BOS,), 1.0)))
    return NgramModel(order, entries)


def _adjusted_counts(sentences: Iterable[Sequence[str]], order: int) -> dict[int, Counter[Ngram]]:
    """{n: counts of n-grams}: occurrences for the highest order and after `<s>`, else different tokens before it."""
    counts: dict[int, Counter[Ngram]] = {n: Counter() for n in range(1, order + 1)}
    for tokens in sentences:
        padded = (BOS, *tokens, EOS)
        for end in range(1, len(padded) + 1):
            if end < order:
                counts[end][padded[:end]] += 1
            else:
                counts[order][padded[end - order : end]] += 1
    for n in range(order - 1, 0, -1):
        counts[n].update(Counter(gram[1:] for gram in counts[n + 1]))
    return counts


def discounts_of(counts: Iterable[int]) -> tuple[float, ...]:
    """Discounts `(0, D1, D2, D3+)` for n-grams seen 0, 1, 2 and at least 3 times, from their counts."""
    counts_of_counts = Counter(counts)
    n1, n2, n3, n4 = (counts_of_counts[i] for i in range(1, 5))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if n4 and all(0 < discount <= i for i, discount in enumerate(discounts, 1)):
            return (0.0, *discounts)
    return (0.0, *FALLBACK_DISCOUNTS)


def _log10(probability: float) -> float:
    # Rounded as in the file, so that a model and its copy read from a file are the same.
    return round(math.log10(probability), DIGITS) + 0.0


def write_arpa(model: NgramModel, path: str | Path) -> None:
    """Write the model in ARPA format, n-grams in sorted order."""
    by_order = [sorted(gram for gram in model.entries if len(gram) == n) for n in range(1, model.order + 1)]
    with atomic_write(path) as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {n}={len(grams)}\n" for n, grams in enumerate(by_order, 1))
        for n, grams in enumerate(by_order, 1):
            file.write(f"\n\\{n}-grams:\n")
            for gram in grams:
                log10, backoff = model.entries[gram]
                tail = f"\t{backoff:.{DIGITS}f}" if n < model.order and backoff else ""
                file.write(f"{log10:.{DIGITS}f}\t{' '.join(gram)}{tail}\n")
        file.write("\n\\end\\\n")


def read_arpa(path: str | Path) -> NgramModel:
    """Read a model in ARPA format.

    Raises:
        UserError: when the file can't be read, is not ARPA or not complete; names the line.
    """
    expected: dict[int, int] = {}  # {n: number of n-grams} by the head of the file
    found: Counter[int] = Counter()
    entries: dict[Ngram, tuple[float, float]] = {}
    n, number = 0, 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                number += 1
                line = line.strip()
                if line == "\\end\\":
                    break
                if line.startswith("ngram "):
                    length, count = line[6:].split("=")
                    expected[int(length)] = int(count)
                elif line.startswith("\\") and line.endswith("-grams:"):
                    n = int(line[1:-7])
                elif line and n:
                    fields = line.split()
                    backoff = float(fields[n + 1]) if len(fields) > n + 1 else 0.0
                    if len(fields) not in (n + 1, n + 2):
                        raise ValueError(f"{len(fields)} columns")
                    entries[tuple(fields[1 : n + 1])] = (float(fields[0]), backoff)
                    found[n] += 1
            else:
                raise ValueError("\\end\\ is missing")
        if not expected or dict(found) != {n: count for n, count in expected.items() if count}:
            raise ValueError("the numbers of n-grams differ from those in the head")
    except OSError as error:
        raise UserError(f"{path}: can't read the n-gram model: {error.strerror}; stage 7 makes it") from None
    except ValueError as error:
        raise UserError(f"{path}: line {number}: not a complete ARPA file ({error}); make it again (stage 7)") from None
    return NgramModel(max(expected), entries)
