import random

import pytest
import torch

from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.hotwords import hotword_scorer


def walk(scorer, tokens):
    """The scores given out after each token, and the sum with the final one."""
    state, given = scorer.initial_state(1, "cpu"), []
    for token in tokens:
        given.append(float(scorer.scores(state)[0, token]))
        state = scorer.step(torch.tensor([token]), state)
    return given, sum(given) + float(scorer.final(state)[0])


def test_total_is_the_bonus_of_the_phrases_that_occur():
    rng = random.Random(0)
    for _ in range(50):
        phrases = {
            tuple(rng.choices(range(1, 4), k=rng.randrange(1, 5))): rng.choice([0.5, 1.0, 2.0]) for _ in range(5)
        }
        scorer = hotword_scorer(list(phrases.items()), 5)
        tokens = tuple(rng.choices(range(1, 5), k=15))
        expected = sum(
            bonus * len(phrase) * sum(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))
            for phrase, bonus in phrases.items()
        )
        assert walk(scorer, tokens)[1] == pytest.approx(expected, abs=1e-4)


def test_bonus_comes_token_by_token_and_is_taken_back():
    scorer = hotword_scorer([((1, 2, 3), 1.5)], 6)
    assert walk(scorer, (1, 2, 3, 4))[0] == pytest.approx([1.5, 1.5, 1.5, 0.0])
    assert walk(scorer, (1, 2, 4))[0] == pytest.approx([1.5, 1.5, -3.0])
    assert walk(scorer, (1, 2)) == (pytest.approx([1.5, 1.5]), pytest.approx(0.0))


def test_no_phrases():
    assert walk(hotword_scorer([], 4), (1, 2, 3))[1] == 0.0


@pytest.mark.parametrize("method", ["greedy_search", "modified_beam_search", "beam_search"])
def test_a_hotword_is_found_where_it_was_not(make_model, make_batch, method):
    model, batch = make_model(scale=1.0, vocab=8), make_batch([20])
    config = SearchConfig(method, beam_size=6, max_sym_per_frame=1)
    phrase = (5, 6, 7)

    def found(bonus):
        [[best]] = search(model, *batch, config, [(hotword_scorer([(phrase, bonus)], 8), 1.0)])
        return any(best.tokens[i : i + 3] == phrase for i in range(len(best.tokens)))

    assert not found(0.0) and found(6.0)
