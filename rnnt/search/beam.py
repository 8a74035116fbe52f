"""Graves' beam search, an utterance at a time.

A. Graves, Sequence transduction with recurrent neural networks, 2012, arXiv:1211.3711, algorithm 1. A frame starts
with the hypotheses of the last one open; the most probable open hypothesis is closed by a blank and extended by
tokens, which are open again, until enough closed hypotheses are more probable than every open one. Instead of the
paper's sum over prefixes, probabilities are added whenever a hypothesis is reached a second time: with an unlimited
beam that sums over the same paths. Hypotheses are nodes of a prefix tree, which also keeps their contexts.
"""

from dataclasses import dataclass, field
from math import exp, inf, log1p

import torch

from rnnt.search.context import Context, adjust_logits, confidence
from rnnt.search.result import Hypothesis, rank


@dataclass(eq=False)
class _Node:
    """A token sequence: its last token, the node of the others, and the context after it (once computed)."""

    token: int
    parent: "_Node | None"
    children: dict = field(default_factory=dict)
    context: Context | None = None

    def child(self, token):
        if token not in self.children:
            self.children[token] = _Node(token, self)
        return self.children[token]


@dataclass
class _Entry:
    """Score of a hypothesis and its most probable path, linked backwards.

    path: (earlier path, frame, log-probability, confidence) of the last token, or None.
    """

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


def beam_search(stepper, h_BTD, h_len_B, config):
    """See `rnnt.search.search`. A frame takes at most beam size x (`max_sym_per_frame` + 1) expansions."""
    e_BTJ = stepper.joiner.project_encoder(h_BTD) if h_BTD.shape[1] else h_BTD
    return [_beam_search_one(stepper, e_BTJ[b, :length], config) for b, length in enumerate(h_len_B.tolist())]


def _beam_search_one(stepper, e_TJ, config):
    root = _Node(stepper.blank_id, None, context=stepper.start(1, e_TJ.device))
    beam = {root: _Entry(0.0, None, 0.0)}
    for t in range(e_TJ.shape[0]):
        beam = _one_frame(stepper, e_TJ[t], t, beam, config)
    if e_TJ.shape[0]:
        for node, entry in beam.items():
            final = stepper.final(node.context)
            entry.score += 0.0 if final is None else float(final)
    return rank([_hypothesis(node, entry) for node, entry in beam.items()], config)


def _one_frame(stepper, e_J, t, beam, config):
    """The beam after frame `t`. Open hypotheses are told apart by how many tokens they emitted on this frame, too."""
    known = _score_nodes(stepper, e_J, list(beam), config)
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
            known.update(_score_nodes(stepper, e_J, [node], config))
        blank_score, tokens = known[node]
        _add(closed, node, entry.score + blank_score, entry.path, entry.path_score + blank_score)
        if emitted < config.max_sym_per_frame:
            for token, score, logp, sure in tokens:
                path = (entry.path, t, logp, sure)
                _add(open_, (node.child(token), emitted + 1), entry.score + score, path, entry.path_score + score)
    best = sorted(closed.items(), key=lambda item: item[1].score, reverse=True)[: config.beam_size]
    return dict(best)


def _score_nodes(stepper, e_J, nodes, config):
    """The steps that nodes can take on one frame.

    {node: (score of blank, [(token, score, log-probability, confidence) of the best `beam_size` tokens])}; scores are
    log-probabilities with what the fusion adds.
    """
    blank = stepper.blank_id
    for node in nodes:
        if node.context is None:
            token_N = torch.tensor([node.token], device=e_J.device)
            node.context = stepper.step(node.parent.context, token_N)
    p_NJ = torch.cat([node.context.p_NJ for node in nodes])
    logp_NV = adjust_logits(stepper.joiner.logits(e_J, p_NJ), config, blank).log_softmax(dim=1)
    score_NV = logp_NV.clone()
    if nodes[0].context.extra_NV is not None:
        score_NV += torch.cat([node.context.extra_NV for node in nodes])
    score_NV[:, blank] = -inf
    top_NK, token_NK = score_NV.topk(min(config.beam_size, score_NV.shape[1] - 1), dim=1)
    chosen_NK = logp_NV.gather(1, token_NK)
    sure_NK = confidence(logp_NV[:, None], chosen_NK, config).expand_as(chosen_NK)
    columns = (x.tolist() for x in (logp_NV[:, blank], token_NK, top_NK, chosen_NK, sure_NK))
    return {node: (blank_score, list(zip(*tokens))) for node, blank_score, *tokens in zip(nodes, *columns)}


def _hypothesis(node, entry):
    labels = []
    path = entry.path
    while path is not None:
        labels.append((node.token, *path[1:]))
        node, path = node.parent, path[0]
    tokens, frames, token_scores, confidences = zip(*reversed(labels)) if labels else ((), (), (), ())
    return Hypothesis(tokens, frames, token_scores, confidences, entry.score)
