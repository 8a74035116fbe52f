"""Graves' beam search, an utterance at a time.

A. Graves, Sequence transduction with recurrent neural networks, 2012, arXiv:1211.3711, algorithm 1. A frame starts
with the hypotheses of the last one open; the most probable open hypothesis is closed by a blank and extended by
tokens, which are open again, until enough closed hypotheses are more probable than every open one. Instead of the
paper's sum over prefixes, probabilities are added whenever a hypothesis is reached a second time: with an unlimited
beam that sums over the same paths. Hypotheses are nodes of a prefix tree, which also keeps the predictor's output.
"""

from dataclasses import dataclass, field
from math import exp, inf, log1p

import torch

from rnnt.search.result import Hypothesis, rank


@dataclass(eq=False)
class _Node:
    """A token sequence: its last token, the node of the others, and the predictor after it (once computed)."""

    token: int
    parent: "_Node | None"
    children: dict = field(default_factory=dict)
    state: tuple | None = None
    p_J: torch.Tensor | None = None

    def child(self, token):
        if token not in self.children:
            self.children[token] = _Node(token, self)
        return self.children[token]


@dataclass
class _Entry:
    """Score of a hypothesis and its most probable path: (earlier path, frame, log-probability), linked backwards."""

    score: float
    path: tuple | None
    path_score: float


def _add(entries, key, score, path, path_score):
    """Put a hypothesis into `entries`, adding the probabilities where it is there already."""
    old = entries.get(key)
    if old is None:
        entries[key] = _Entry(score, path, path_score)
        return
    if path_score > old.path_score:
        old.path, old.path_score = path, path_score
    high, low = max(old.score, score), min(old.score, score)
    old.score = high + log1p(exp(low - high))


def beam_search(model, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. A frame takes at most beam size x (`max_sym_per_frame` + 1) expansions."""
    e_BTJ = model.joiner.project_encoder(h_BTD) if h_BTD.shape[1] else h_BTD
    return [_beam_search_one(model, e_BTJ[b, :length], config) for b, length in enumerate(h_len_B.tolist())]


def _beam_search_one(model, e_TJ, config):
    root = _Node(model.blank_id, None)
    beam = {root: _Entry(0.0, None, 0.0)}
    for t in range(e_TJ.shape[0]):
        beam = _one_frame(model, e_TJ[t], t, beam, config)
    return rank([_hypothesis(node, entry) for node, entry in beam.items()], config)


def _one_frame(model, e_J, t, beam, config):
    """The beam after frame `t`. Open hypotheses are told apart by how many tokens they emitted on this frame, too."""
    known = _score_nodes(model, e_J, list(beam), config.beam_size)
    open_ = {(node, 0): _Entry(entry.score, entry.path, entry.path_score) for node, entry in beam.items()}
    closed = {}
    for _ in range(config.beam_size * (config.max_sym_per_frame + 1)):
        if not open_:
            break
        key = max(open_, key=lambda k: open_[k].score)
        entry = open_[key]
        if sum(c.score > entry.score for c in closed.values()) >= config.beam_size:
            break
        del open_[key]
        node, emitted = key
        if node not in known:
            known.update(_score_nodes(model, e_J, [node], config.beam_size))
        blank_score, tokens = known[node]
        _add(closed, node, entry.score + blank_score, entry.path, entry.path_score + blank_score)
        if emitted < config.max_sym_per_frame:
            for token, logp in tokens:
                path = (entry.path, t, logp)
                _add(open_, (node.child(token), emitted + 1), entry.score + logp, path, entry.path_score + logp)
    best = sorted(closed.items(), key=lambda item: item[1].score, reverse=True)[: config.beam_size]
    return dict(best)


def _score_nodes(model, e_J, nodes, beam_size):
    """{node: (log-probability of blank, [(token, log-probability) of the best `beam_size` tokens])} on one frame."""
    _step_predictor(model, [node for node in nodes if node.p_J is None], e_J.device)
    logits_NV = model.joiner.logits(e_J, torch.stack([node.p_J for node in nodes])).float()
    logp_NV = logits_NV.log_softmax(dim=1)
    blank_N = logp_NV[:, model.blank_id].tolist()
    logp_NV[:, model.blank_id] = -inf
    top, tokens = logp_NV.topk(min(beam_size, logp_NV.shape[1] - 1), dim=1)
    return {
        node: (blank, list(zip(token_row, top_row)))
        for node, blank, token_row, top_row in zip(nodes, blank_N, tokens.tolist(), top.tolist())
    }


def _step_predictor(model, nodes, device):
    """Compute the predictor's output after `nodes`; their parents' is known."""
    if not nodes:
        return
    if nodes[0].parent is None:
        token_N, before = model.predictor.start(1, device), model.predictor.initial_state(1, device)
    else:
        token_N = torch.tensor([node.token for node in nodes], device=device)
        before = tuple(torch.stack(parts) for parts in zip(*(node.parent.state for node in nodes)))
    g_ND, state = model.predictor.step(token_N, before)
    p_NJ = model.joiner.project_predictor(g_ND)
    for i, node in enumerate(nodes):
        node.p_J = p_NJ[i]
        node.state = tuple(part[i] for part in state)


def _hypothesis(node, entry):
    tokens, frames, token_scores = [], [], []
    path = entry.path
    while path is not None:
        tokens.append(node.token)
        frames.append(path[1])
        token_scores.append(path[2])
        node, path = node.parent, path[0]
    return Hypothesis(tuple(tokens[::-1]), tuple(frames[::-1]), tuple(token_scores[::-1]), entry.score)
