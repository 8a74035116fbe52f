"""The best paths against all paths of tiny lattices."""

from itertools import combinations_with_replacement, product

import pytest
import torch

from rnnt.alignment.viterbi import ctc_best_path, transducer_best_path


def all_transducer_paths(px, py):
    """(score, frame of each token) of every path: the frames never fall."""
    S, T = px.shape
    for frames in combinations_with_replacement(range(T), S):
        blanks = sum(py[sum(f <= t for f in frames), t] for t in range(T))
        yield float(sum(px[s, t] for s, t in enumerate(frames)) + blanks), list(frames)


def all_ctc_paths(logp_TV, tokens, blank):
    """(score, first frames, last frames) of every sequence of symbols that becomes the tokens."""
    T, V = logp_TV.shape
    for path in product(range(V), repeat=T):
        first, last, said = [], [], []
        for t, symbol in enumerate(path):
            if symbol != blank and (t == 0 or path[t - 1] != symbol):
                said.append(symbol)
                first.append(t)
                last.append(t)
            elif symbol != blank:
                last[-1] = t
        if said == tokens:
            yield float(sum(logp_TV[t, v] for t, v in enumerate(path))), first, last


def test_transducer_finds_the_best_of_all_paths():
    generator = torch.Generator().manual_seed(1)
    y_len_B, x_len_B = torch.tensor([3, 2, 0, 3, 1]), torch.tensor([4, 3, 4, 1, 2])
    px = torch.randn(5, 3, 4, generator=generator, dtype=torch.float64)
    py = torch.randn(5, 4, 4, generator=generator, dtype=torch.float64)
    found = transducer_best_path(px, py, y_len_B, x_len_B)
    for b, (S, T) in enumerate(zip(y_len_B.tolist(), x_len_B.tolist())):
        score, frames = max(all_transducer_paths(px[b, :S, :T], py[b, : S + 1, :T]))
        assert found.score_B[b].item() == pytest.approx(score)
        assert found.first_BS[b, :S].tolist() == frames
        assert found.last_BS[b, :S].tolist() == frames


def test_ctc_finds_the_best_of_all_paths():
    generator = torch.Generator().manual_seed(2)
    logp_BTV = torch.randn(6, 5, 3, generator=generator, dtype=torch.float64).log_softmax(dim=2)
    blank = 1
    texts = [[0, 2], [0, 0], [], [2], [2, 2, 0], [0, 2, 0]]
    x_len = [5, 4, 3, 1, 5, 5]
    y_BS = torch.tensor([text + [1] * (3 - len(text)) for text in texts])
    y_len_B = torch.tensor([len(text) for text in texts])
    found = ctc_best_path(logp_BTV, y_BS, torch.tensor(x_len), y_len_B, blank)
    for b, (text, T) in enumerate(zip(texts, x_len)):
        score, first, last = max(all_ctc_paths(logp_BTV[b, :T], text, blank))
        assert found.score_B[b].item() == pytest.approx(score)
        assert found.first_BS[b, : len(text)].tolist() == first
        assert found.last_BS[b, : len(text)].tolist() == last


def test_without_a_path_the_score_is_minus_infinity():
    logp_BTV = torch.zeros(2, 2, 3)
    found = ctc_best_path(logp_BTV, torch.tensor([[2, 2], [1, 2]]), torch.tensor([2, 2]), torch.tensor([2, 2]), 0)
    assert found.score_B.tolist() == [-torch.inf, 0.0]  # the same token twice needs a blank between
    none = transducer_best_path(torch.zeros(1, 1, 0), torch.zeros(1, 2, 0), torch.tensor([1]), torch.tensor([0]))
    assert none.score_B.tolist() == [-torch.inf]
    empty = transducer_best_path(torch.zeros(1, 0, 0), torch.zeros(1, 1, 0), torch.tensor([0]), torch.tensor([0]))
    assert empty.score_B.tolist() == [0.0]
