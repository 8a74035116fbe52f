import random

import pytest

from rnnt.errors import UserError
from rnnt.search.ngram import ngram_scorer
from rnnt.text.ngram import estimate

PIECES = ["<blk>", "<sos/eos>", "<unk>", "a", "b", "c", "d"]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_scores_equal_those_of_the_model_after_any_history(order):
    import torch

    rng = random.Random(order)
    sentences = [[rng.choice("aabbc") for _ in range(rng.randrange(1, 8))] for _ in range(40)]
    ngram = estimate(sentences, order, PIECES[3:])
    scorer = ngram_scorer(ngram, PIECES)
    for _ in range(20):
        state, history = scorer.initial_state(1, "cpu"), ["<s>"]
        for token in rng.choices("abcd", k=6):
            scores_V = scorer.scores(state)[0]
            expected = [ngram.log_prob(piece, tuple(history)) for piece in PIECES[3:]]
            assert scores_V[3:].tolist() == pytest.approx(expected, abs=1e-4)
            state = scorer.step(torch.tensor([PIECES.index(token)]), state)
            history.append(token)


def test_another_tokenizer_is_refused():
    with pytest.raises(UserError, match=r"G.arpa: no probability for token 'z'"):
        ngram_scorer(estimate([["a", "b"]], 2), ["<blk>", "<sos/eos>", "<unk>", "a", "b", "z"], "G.arpa")
