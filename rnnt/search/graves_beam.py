"""Graves' beam search, one utterance at a time.

A. Graves, Sequence transduction with recurrent neural networks, 2012, arXiv:1211.3711, algorithm 1. A frame starts
with the hypotheses of the last one open; the most probable open hypothesis is closed by a blank and extended by
tokens, which are open again, until enough closed hypotheses are more probable than every open one. Instead of the
paper's sum over prefixes, probabilities are added whenever a hypothesis is reached a second time: with an unlimited
beam that sums over the same paths. Hypotheses are nodes of a prefix tree, which also keeps their states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log1p
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from rnnt.search.result import Hypothesis, rank
from rnnt.search.stepper import HypothesisState, Stepper, entropy_confidence

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.config import SearchConfig

Key = TypeVar("Key")


@dataclass(eq=False)
class _Node:
    """A token sequence: its last token, the node of the others, and the state after it (once computed)."""

    token: int
    parent: _Node | None
    children: dict[int, _Node] = field(default_factory=dict)
    state: HypothesisState | None = None

    def child(self, token: int) -> _Node:
        if token not in self.children:
            self.children[token] = _Node(token, self)
        return self.children[token]

    def compute_state(self, stepper: Stepper, device: torch.device) -> HypothesisState:
        """The state after the tokens; computed on the first call."""
        if self.state is None:
            assert self.parent is not None and self.parent.state is not None, "a node is expanded before its children"
            self.state = stepper.step(self.parent.state, torch.tensor([self.token], device=device))
        return self.state


class _Path(NamedTuple):
    """The last token of a path of a hypothesis, linked to the path before it."""

    before: _Path | None
    frame: int
    logp: float
    confidence: float


@dataclass
class _Entry:
    """Score of a hypothesis and its most probable path."""

    score: float
    path: _Path | None
    path_score: float


class _TokenStep(NamedTuple):
    """A token that a hypothesis may take on a frame."""

    token: int
    score: float  # its log-probability with what the fusion adds
    logp: float
    confidence: float


# {node: (score of blank, the best tokens)} on one frame
_Steps = dict[_Node, tuple[float, list[_TokenStep]]]


def _add(entries: dict[Key, _Entry], key: Key, score: float, path: _Path | None, path_score: float) -> None:
    """Put a hypothesis into `entries`, adding the probabilities where it already exists."""
    old = entries.get(key)
    if old is None:
        entries[key] = _Entry(score, path, path_score)
        return
    if path_score > old.path_score:
        old.path, old.path_score = path, path_score
    high, low = max(old.score, score), min(old.score, score)
    old.score = high + log1p(exp(low - high))


def beam_search(stepper: Stepper, h_BTD: Tensor, h_len_B: Tensor, config: SearchConfig) -> list[list[Hypothesis]]:
    """See `rnnt.search.search`. A frame takes at most beam size x (`max_sym_per_frame` + 1) expansions."""
    e_BTJ = stepper.joiner.project_encoder(h_BTD) if h_BTD.shape[1] else h_BTD
    return [_beam_search_one(stepper, e_BTJ[b, :length], config) for b, length in enumerate(h_len_B.tolist())]


def _beam_search_one(stepper: Stepper, e_TJ: Tensor, config: SearchConfig) -> list[Hypothesis]:
    root = _Node(stepper.blank_id, None, state=stepper.start(1, e_TJ.device))
    beam = {root: _Entry(0.0, None, 0.0)}
    for t in range(e_TJ.shape[0]):
        beam = _one_frame(stepper, e_TJ[t], t, beam, config)
    if e_TJ.shape[0]:
        for node, entry in beam.items():
            final = stepper.final(node.compute_state(stepper, e_TJ.device))
            entry.score += 0.0 if final is None else float(final)
    return rank([_hypothesis(node, entry) for node, entry in beam.items()], config)


def _one_frame(
    stepper: Stepper, e_J: Tensor, t: int, beam: dict[_Node, _Entry], config: SearchConfig
) -> dict[_Node, _Entry]:
    """The beam after frame `t`. Open hypotheses are also identified by how many tokens they emitted on this frame."""
    steps = _score_nodes(stepper, e_J, list(beam), config)
    open_ = {(node, 0): _Entry(entry.score, entry.path, entry.path_score) for node, entry in beam.items()}
    closed: dict[_Node, _Entry] = {}
    for _ in range(config.beam_size * (config.max_sym_per_frame + 1)):
        if not open_:
            break
        key = max(open_, key=lambda k: open_[k].score)
        entry = open_[key]
        if sum(c.score > entry.score for c in closed.values()) >= config.beam_size:
            break
        del open_[key]
        node, emitted = key
        if node not in steps:
            steps.update(_score_nodes(stepper, e_J, [node], config))
        blank_score, tokens = steps[node]
        _add(closed, node, entry.score + blank_score, entry.path, entry.path_score + blank_score)
        if emitted < config.max_sym_per_frame:
            for token, score, logp, confidence in tokens:
                path = _Path(entry.path, t, logp, confidence)
                _add(open_, (node.child(token), emitted + 1), entry.score + score, path, entry.path_score + score)
    best = sorted(closed.items(), key=lambda item: item[1].score, reverse=True)[: config.beam_size]
    return dict(best)


def _score_nodes(stepper: Stepper, e_J: Tensor, nodes: list[_Node], config: SearchConfig) -> _Steps:
    """The steps that nodes can take on one frame: blank and the best `beam_size` tokens."""
    blank = stepper.blank_id
    states = [node.compute_state(stepper, e_J.device) for node in nodes]
    logp_NV = stepper.log_probs(e_J, torch.cat([state.p_NJ for state in states]))
    score_NV = logp_NV.clone()
    fusion = [state.fusion_NV for state in states if state.fusion_NV is not None]
    if fusion:
        score_NV += torch.cat(fusion)
    score_NV[:, blank] = -inf
    top_NK, token_NK = score_NV.topk(min(config.beam_size, score_NV.shape[1] - 1), dim=1)
    chosen_NK = logp_NV.gather(1, token_NK)
    if config.confidence == "entropy":
        confidence_NK = entropy_confidence(logp_NV)[:, None].expand_as(chosen_NK)
    else:
        confidence_NK = chosen_NK.exp()
    columns: list[list[Any]] = [x.tolist() for x in (logp_NV[:, blank], token_NK, top_NK, chosen_NK, confidence_NK)]
    return {
        node: (blank_score, [_TokenStep(*step) for step in zip(*tokens)])
        for node, blank_score, *tokens in zip(nodes, *columns)
    }


def _hypothesis(node: _Node, entry: _Entry) -> Hypothesis:
    emissions: list[tuple[int, int, float, float]] = []
    last: _Node | None = node
    path = entry.path
    while path is not None:
        assert last is not None, "a path has as many tokens as its node"
        emissions.append((last.token, path.frame, path.logp, path.confidence))
        last, path = last.parent, path.before
    tokens, frames, token_scores, confidences = zip(*reversed(emissions)) if emissions else ((), (), (), ())
    return Hypothesis(tokens, frames, token_scores, confidences, entry.score)
