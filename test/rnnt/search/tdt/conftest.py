"""Tiny random transducers with durations, and a plain search of one utterance to compare with."""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch


@pytest.fixture
def make_tdt(make_model):
    """make_tdt(durations, predictor, blank, ...) -> a model of random weights with a head for durations."""

    def make(durations=(0, 1, 2, 3, 4), *args, duration_scale=3.0, **more):
        model = make_model(*args, **more)
        output = torch.nn.Linear(8, len(durations))
        with torch.no_grad():
            output.weight.mul_(duration_scale)
        model.heads = {"tdt": SimpleNamespace(duration_output=output, config=SimpleNamespace(durations=durations))}
        return model

    return make


class Plain:
    """Log-probabilities for one utterance, and searches written out."""

    def __init__(self, naive, model, h_TD):
        self.tokens_at = naive(model, h_TD)
        self.model, self.T = model, len(h_TD)
        self.head = model.heads["tdt"]
        self.durations = self.head.config.durations

    def durations_at(self, t, tokens):
        """(D,) log-probabilities of the durations at frame t after `tokens`."""
        self.tokens_at(t, tokens)
        hidden = torch.tanh(self.tokens_at.e_TJ[t] + self.tokens_at.known[tuple(tokens)])
        return self.head.duration_output(hidden).log_softmax(0).double().detach().numpy()

    def greedy(self, most):
        """(tokens, frames, durations, score)."""
        found, score, t, on_frame = [], 0.0, 0, 0
        while t < self.T:
            tokens = [token for token, _, _ in found]
            logp, logq = self.tokens_at(t, tokens), self.durations_at(t, tokens)
            best = int(logp.argmax())
            if best == self.model.blank_id:
                logq = np.where(np.array(self.durations) == 0, -np.inf, logq)
            j = int(logq.argmax())
            score += logp[best] + logq[j]
            lasts = self.durations[j]
            on_frame += 1
            if best != self.model.blank_id:
                found.append((best, t, lasts))
            moved = lasts or int(on_frame >= most)
            on_frame = 0 if moved else on_frame
            t += moved
        return (*(tuple(column) for column in zip(*found)), score) if found else ((), (), (), score)

    def all_paths(self, most):
        """{tokens: score} summed over all paths, of at most `most` tokens on a frame; then the search moves by one."""
        totals = defaultdict(lambda: -np.inf)

        def walk(t, tokens, on_frame, score):
            if t >= self.T:
                totals[tokens] = np.logaddexp(totals[tokens], score)
                return
            logp, logq = self.tokens_at(t, tokens), self.durations_at(t, tokens)
            for token in range(self.model.vocab_size):
                for j, lasts in enumerate(self.durations):
                    emits = token != self.model.blank_id
                    if not emits and lasts == 0:
                        continue
                    moved = lasts or int(on_frame + 1 >= most)
                    walk(
                        t + moved, (*tokens, token) if emits else tokens, 0 if moved else on_frame + 1,
                        score + logp[token] + logq[j],
                    )  # fmt: skip

        walk(0, (), 0, 0.0)
        return dict(totals)


@pytest.fixture
def plain(naive):
    """plain(model, h_TD) -> a `Plain`."""
    return lambda model, h_TD: Plain(naive, model, h_TD)
