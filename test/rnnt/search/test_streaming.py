"""Chunks of any sizes give what the whole gives, for streams at different places."""

import numpy as np
import pytest
import torch

from rnnt.errors import UserError
from rnnt.options import make
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.fusion import TableScorer
from rnnt.streaming.search import METHODS, StreamingSearch

LENGTHS = [23, 17, 9, 1, 0]


def bigram(vocab, seed=3):
    generator = np.random.default_rng(seed)
    following = np.tile(np.arange(vocab), (vocab, 1))
    return TableScorer(0, following, generator.normal(size=(vocab, vocab)), generator.normal(size=vocab))


def run(model, config, h_BTD, h_len_B, scorers, seed):
    """All streams to their ends, by chunks of random sizes; sometimes a stream gets nothing at all."""
    generator = np.random.default_rng(seed)
    streaming = StreamingSearch(model, config, scorers)
    states = [streaming.start(h_BTD.device) for _ in h_BTD]
    stable = [()] * len(states)
    while True:
        waiting = [i for i, length in enumerate(h_len_B.tolist()) if states[i].frames < length]
        if not waiting:
            break
        chosen = [i for i in waiting if generator.random() < 0.7]
        parts = [
            h_BTD[i, states[i].frames : min(int(h_len_B[i]), states[i].frames + int(generator.integers(0, 6)))]
            for i in chosen
        ]
        if chosen:
            padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=1e4)
            new = streaming.advance([states[i] for i in chosen], padded, torch.tensor([len(p) for p in parts]))
            for i, state in zip(chosen, new):
                states[i] = state
                tokens = streaming.hypotheses(state)[0].tokens
                count = streaming.num_stable(state)
                assert tokens[: len(stable[i])] == stable[i] and count >= len(stable[i])
                stable[i] = tokens[:count]
    found = [streaming.hypotheses(state, is_final=True) for state in states]
    return found


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("predictor,blank", [("stateless", 0), ("lstm", 5)])
@pytest.mark.parametrize("method", METHODS)
def test_chunks_give_what_the_whole_gives(make_model, make_batch, method, predictor, blank, fused):
    for seed in range(3):
        model = make_model(predictor, blank, seed=seed)
        h_BTD, h_len_B = make_batch(LENGTHS, seed)
        options = {"nbest": 3} if method != "greedy_search" else {"max_sym_per_utt": 7} if seed == 2 else {}
        config = make(SearchConfig, decoding_method=method, max_sym_per_frame=2, blank_penalty=0.3, **options)
        scorers = [(bigram(6), 0.5)] if fused else []
        wanted = search(model, h_BTD, h_len_B, config, scorers)
        found = run(model, config, h_BTD, h_len_B, scorers, seed)
        for a, b in zip(found, wanted):
            assert [(h.tokens, h.frames) for h in a] == [(h.tokens, h.frames) for h in b]
            for x, y in zip(a, b):
                assert x.score == pytest.approx(y.score, abs=1e-4)
                assert x.confidences == pytest.approx(y.confidences, abs=1e-5)
                assert x.token_scores == pytest.approx(y.token_scores, abs=1e-4)


def test_searches_of_whole_utterances_are_refused(make_model):
    with pytest.raises(UserError, match="beam_search needs the whole utterance.*greedy_search"):
        StreamingSearch(make_model(), SearchConfig(decoding_method="beam_search"))


def test_no_streams_is_nothing_to_do(make_model):
    assert StreamingSearch(make_model(), SearchConfig()).advance([], torch.zeros(0, 0, 6), torch.zeros(0)) == []
