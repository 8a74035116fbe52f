"""The searches over graphs, in numpy: those of `rnnt.search` with the same results, up to rounding.

Letters: B utterances, N of them or hypotheses at work, W frames ahead, K hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from rnnt.search.result import Hypothesis, rank

if TYPE_CHECKING:
    from rnnt.search.config import SearchConfig
    from rnnt.transcription.onnx.graphs import Graphs

ROWS, LEAST_WINDOW, MOST_WINDOW = 64, 2, 8  # frames scored in an iteration, in all and of each utterance


def adjusted(logits: np.ndarray, config: SearchConfig) -> np.ndarray:
    """Logits (..., V) with blank penalty and temperature."""
    if config.blank_penalty:
        logits = logits.copy()
        logits[..., 0] -= config.blank_penalty
    return logits if config.temperature == 1.0 else logits / np.float32(config.temperature)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def confidence(logp_V: np.ndarray, token: int, config: SearchConfig) -> float:
    """Of a token by the distribution that it was taken from."""
    if config.confidence == "max_prob":
        return float(np.exp(logp_V[token]))
    entropy = -(np.exp(logp_V) * np.maximum(logp_V, -1e4)).sum()
    return float(np.clip(1 - entropy / np.log(max(len(logp_V), 2)), 0, 1))


@dataclass
class _Path:
    """What was found of an utterance so far."""

    tokens: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    score: float = 0.0

    def add(self, token: int, frame: int, logp_V: np.ndarray, config: SearchConfig) -> None:
        self.tokens.append(token)
        self.frames.append(frame)
        self.scores.append(float(logp_V[token]))
        self.confidences.append(confidence(logp_V, token, config))

    def hypothesis(self, ids: list[int]) -> Hypothesis:
        tokens = tuple(ids[token] for token in self.tokens)
        return Hypothesis(tokens, tuple(self.frames), tuple(self.scores), tuple(self.confidences), self.score)


def greedy_search(
    graphs: Graphs, x_BTF: np.ndarray, x_len_B: np.ndarray, config: SearchConfig
) -> list[tuple[int, list[Hypothesis]]]:
    """`rnnt.search.greedy`: each iteration goes to the next token of every utterance."""
    e_BTJ, len_B = graphs.encode(x_BTF, x_len_B)
    B, T, J = e_BTJ.shape
    paths = [_Path() for _ in range(B)]
    frame_B, count_B = np.zeros(B, np.int64), np.zeros(B, np.int64)
    budget_B = np.full(B, config.max_sym_per_utt or T * config.max_sym_per_frame)
    y_BC = graphs.start(B)
    p_BJ = np.repeat(graphs.predict(y_BC[:1]), B, axis=0) if B else np.zeros((0, J), np.float32)
    row_N = np.flatnonzero(len_B > 0)
    while len(row_N):
        W = min(max(ROWS // len(row_N), LEAST_WINDOW), MOST_WINDOW)
        frame_NW = frame_B[row_N, None] + np.arange(W)
        inside_NW = frame_NW < len_B[row_N, None]
        e_XJ = e_BTJ[row_N[:, None], np.minimum(frame_NW, T - 1)].reshape(-1, J)
        logits_XV = graphs.logits(e_XJ, np.repeat(p_BJ[row_N], W, axis=0))
        logp_NWV = log_softmax(adjusted(logits_XV, config)).reshape(len(row_N), W, -1)
        token_NW = logp_NWV.argmax(axis=2)
        best_NW = np.take_along_axis(logp_NWV, token_NW[:, :, None], axis=2)[:, :, 0]
        is_token_NW = (token_NW != 0) & inside_NW
        emits_N = is_token_NW.any(axis=1)
        first_N = is_token_NW.argmax(axis=1)
        blanks_N = np.where(emits_N, first_N, W)
        passed_NW = inside_NW & (np.arange(W) <= blanks_N[:, None])
        score_N = np.where(passed_NW, best_NW, 0.0).sum(axis=1)
        count_B[row_N] = np.where(blanks_N == 0, count_B[row_N], 0) + emits_N
        frame_B[row_N] += blanks_N
        for n in range(len(row_N)):
            path, b = paths[row_N[n]], row_N[n]
            path.score += float(score_N[n])
            if emits_N[n]:
                path.add(int(token_NW[n, first_N[n]]), int(frame_B[b]), logp_NWV[n, first_N[n]], config)
        emitting = row_N[emits_N]
        y_BC[emitting] = np.roll(y_BC[emitting], -1, axis=1)
        y_BC[emitting, -1] = token_NW[emits_N, first_N[emits_N]]
        budget_B[emitting] -= 1
        full_N = count_B[row_N] >= config.max_sym_per_frame
        frame_B[row_N] += full_N
        count_B[row_N[full_N]] = 0
        row_N = row_N[(frame_B[row_N] < len_B[row_N]) & (budget_B[row_N] > 0)]
        emitting = emitting[np.isin(emitting, row_N)]
        if len(emitting):
            p_BJ[emitting] = graphs.predict(y_BC[emitting])
    return [(int(length), [path.hypothesis(graphs.ids)]) for length, path in zip(len_B, paths)]


def modified_beam_search(
    graphs: Graphs, x_BTF: np.ndarray, x_len_B: np.ndarray, config: SearchConfig
) -> list[tuple[int, list[Hypothesis]]]:
    """`rnnt.search.modified_beam`: one blank or token per frame; hypotheses with the same tokens are merged."""
    e_BTJ, len_B = graphs.encode(x_BTF, x_len_B)
    beams = [[_Path()] for _ in range(len(e_BTJ))]
    for t in range(e_BTJ.shape[1]):
        running = [b for b in range(len(beams)) if t < len_B[b]]
        sizes = [len(beams[b]) for b in running]
        if not running:
            break
        y_NC = np.concatenate([_contexts(graphs, beams[b]) for b in running])
        e_NJ = np.repeat(e_BTJ[running, t], sizes, axis=0)
        logp_NV = log_softmax(adjusted(graphs.logits(e_NJ, graphs.predict(y_NC)), config))
        begin = 0
        for b, size in zip(running, sizes):
            beams[b] = _extended(beams[b], logp_NV[begin : begin + size], t, config)
            begin += size
    ranked = [rank([path.hypothesis(graphs.ids) for path in beam], config) for beam in beams]
    return [(int(length), hypotheses) for length, hypotheses in zip(len_B, ranked)]


def _contexts(graphs: Graphs, beam: list[_Path]) -> np.ndarray:
    """The last tokens (K, C) of hypotheses."""
    y_KC = graphs.start(len(beam))
    for row_C, path in zip(y_KC, beam):
        seen = [0, *path.tokens][-graphs.context_size :]
        row_C[:] = -1
        row_C[len(row_C) - len(seen) :] = seen
    return y_KC


def _extended(beam: list[_Path], logp_KV: np.ndarray, t: int, config: SearchConfig) -> list[_Path]:
    """The best steps from the hypotheses of an utterance, those that are equal merged by adding probabilities."""
    K, V = logp_KV.shape
    total_X = (logp_KV + np.array([path.score for path in beam], np.float32)[:, None]).ravel()
    number = min(config.beam_size, len(total_X))
    best_X = np.argpartition(-total_X, number - 1)[:number]
    merged: dict[tuple[int, ...], _Path] = {}
    for x in best_X[np.argsort(-total_X[best_X], kind="stable")]:
        k, token = divmod(int(x), V)
        old = beam[k]
        path = replace(
            old, tokens=[*old.tokens], frames=[*old.frames], scores=[*old.scores], confidences=[*old.confidences],
            score=float(total_X[x]),
        )  # fmt: skip
        if token:
            path.add(token, t, logp_KV[k], config)
        equal = merged.setdefault(tuple(path.tokens), path)
        if equal is not path:
            equal.score = float(np.logaddexp(equal.score, path.score))
    return list(merged.values())


def ctc_greedy_search(
    graphs: Graphs, x_BTF: np.ndarray, x_len_B: np.ndarray, config: SearchConfig
) -> list[tuple[int, list[Hypothesis]]]:
    """`rnnt.search.ctc.greedy`: the best symbol of each frame, repetitions joined, blanks left out."""
    logp_BTV, len_B = graphs.log_probs(x_BTF, x_len_B)
    if config.blank_penalty or config.temperature != 1.0:
        logp_BTV = log_softmax(adjusted(logp_BTV, config))
    token_BT = logp_BTV.argmax(axis=2)
    found = []
    for logp_TV, token_T, length in zip(logp_BTV, token_BT, len_B.tolist()):
        path = _Path()
        for t in range(length):
            token = int(token_T[t])
            path.score += float(logp_TV[t, token])
            if token and (t == 0 or token != token_T[t - 1]):
                path.add(token, t, logp_TV[t], config)
        found.append((length, [path.hypothesis(graphs.ids)]))
    return found


SEARCHES = {
    "greedy_search": greedy_search,
    "modified_beam_search": modified_beam_search,
    "ctc_greedy_search": ctc_greedy_search,
}
