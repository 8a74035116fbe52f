"""Tiny random transducers and plain searches, one utterance and one frame at a time, to compare with."""

import itertools
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnt.model.config import PREDICTORS, ModelConfig
from rnnt.model.joiner import Joiner
from rnnt.options import make as make_config


@pytest.fixture
def make_model():
    """make_model(predictor, blank, vocab, seed, blank_bias) -> a model of random weights, encoder width 6."""

    def make(predictor="stateless", blank=0, vocab=6, seed=0, blank_bias=1.0, scale=3.0):
        torch.manual_seed(seed)
        sizes = {"predictor_dim": 8, "joiner_dim": 8, "dropout": 0.0}
        config = make_config(ModelConfig, predictor=predictor, **sizes)
        make_predictor = PREDICTORS.implementation(config.predictor)
        model = SimpleNamespace(
            predictor=make_predictor(config.predictor, vocab, blank).eval(),
            joiner=Joiner(6, 8, vocab, config.joiner).eval(),
            blank_id=blank,
            vocab_size=vocab,
        )
        with torch.no_grad():
            for weight in (*model.joiner.parameters(), *model.predictor.parameters()):
                weight.mul_(scale)
            model.joiner.output.bias[blank] += blank_bias
        return model

    return make


@pytest.fixture
def make_batch():
    """make_batch(lengths, seed) -> random encoder output with garbage past the lengths."""

    def make(lengths, seed=0):
        torch.manual_seed(1000 + seed)
        h_BTD = torch.randn(len(lengths), max(lengths, default=0), 6) * 2
        for b, length in enumerate(lengths):
            h_BTD[b, length:] = 1e4
        return h_BTD, torch.tensor(lengths)

    return make


class Naive:
    """The model's log-probabilities for one utterance, the predictor run over each history token by token."""

    def __init__(self, model, h_TD):
        self.model = model
        self.e_TJ = model.joiner.project_encoder(h_TD)
        self.known, self.after, self.found = {}, {}, {}

    def __call__(self, t, tokens):
        """(V,) log-probabilities at frame t after `tokens`."""
        tokens = tuple(tokens)
        if (t, tokens) not in self.found:
            self.found[t, tokens] = self._log_probs(t, tokens)
        return self.found[t, tokens]

    def _log_probs(self, t, tokens):
        if tokens not in self.known:
            predictor = self.model.predictor
            if tokens and tokens[:-1] not in self.known:
                self(t, tokens[:-1])
            before = self.after[tokens[:-1]] if tokens else predictor.initial_state(1)
            last = torch.tensor([tokens[-1]]) if tokens else predictor.start(1)
            with torch.no_grad():
                g, self.after[tokens] = predictor.step(last, before)
                self.known[tokens] = self.model.joiner.project_predictor(g[0])
        logits = self.model.joiner.logits(self.e_TJ[t], self.known[tokens])
        return logits.log_softmax(0).double().detach().numpy()

    def greedy(self, most):
        """(tokens, frames, score): the best token each time, at most `most` tokens per frame."""
        tokens, frames, score = [], [], 0.0
        for t in range(len(self.e_TJ)):
            for _ in range(most):
                logp = self(t, tokens)
                best = int(logp.argmax())
                score += logp[best]
                if best == self.model.blank_id:
                    break
                tokens.append(best)
                frames.append(t)
        return tuple(tokens), tuple(frames), score

    def modified_beam(self, beam):
        """{tokens: score} with one token per frame, equal hypotheses added after the best `beam` were taken."""
        hypotheses = {(): 0.0}
        for t in range(len(self.e_TJ)):
            steps = []
            for tokens, score in hypotheses.items():
                for token, logp in enumerate(self(t, tokens)):
                    longer = tokens if token == self.model.blank_id else (*tokens, token)
                    steps.append((score + logp, longer))
            hypotheses = defaultdict(lambda: -np.inf)
            steps.sort(reverse=True)
            if len(steps) > beam:
                assert steps[beam - 1][0] - steps[beam][0] > 1e-5, "a tie: rounding decides; take another seed"
            for score, tokens in steps[:beam]:
                hypotheses[tokens] = np.logaddexp(hypotheses[tokens], score)
        return dict(hypotheses)

    def all_paths(self, most, modified):
        """{tokens: score} summed over all paths: at most one token per frame, or at most `most` tokens and a blank."""
        vocab = [v for v in range(self.model.vocab_size) if v != self.model.blank_id]
        lengths = range(2) if modified else range(most + 1)
        frames = [c for n in lengths for c in itertools.product(vocab, repeat=n)]
        totals = defaultdict(lambda: -np.inf)
        for path in itertools.product(frames, repeat=len(self.e_TJ)):
            tokens, score = (), 0.0
            for t, new in enumerate(path):
                for token in new:
                    score += self(t, tokens)[token]
                    tokens += (token,)
                if not (modified and new):
                    score += self(t, tokens)[self.model.blank_id]
            totals[tokens] = np.logaddexp(totals[tokens], score)
        return dict(totals)


@pytest.fixture
def naive():
    return Naive


@pytest.fixture(params=["lstm", "transformer"])
def make_lm(request):
    """make_lm(vocab, boundary, seed) -> a language model of random weights with much to say, of each kind."""
    from rnnt.model.language.base import make_language_model
    from rnnt.model.language.config import LanguageModelConfig

    sizes = {"lstm": {"layers": 2}, "transformer": {"layers": 2, "heads": 2, "feedforward_dim": 8, "context": 3}}

    def make(vocab, boundary=1, seed=0):
        torch.manual_seed(seed)
        options = {"model": request.param, "dim": 8, "tie_weights": False, **sizes[request.param]}
        model = make_language_model(make_config(LanguageModelConfig, **options, vocab_size=vocab, boundary_id=boundary))
        with torch.no_grad():
            model.output.weight.mul_(4)
            model.embedding.weight.normal_()
        return model.eval()

    return make


@pytest.fixture
def lm_total():
    """lm_total(model, tokens) -> log-probability of the tokens, from scratch and without the end."""

    def total(model, tokens):
        scores_1U = model.token_scores(torch.tensor([tokens], dtype=torch.int64), torch.tensor([len(tokens)]))
        return float(scores_1U[0, : len(tokens)].sum().detach())

    return total
