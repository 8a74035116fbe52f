"""The recursion against all paths enumerated, against itself in other backends, and by its identities."""

import pytest
import torch

from rnnt.loss import joint_mutual_information_recursion, mutual_information_recursion
from rnnt.loss.native import wavefront


def all_paths(px, py, regular):
    """The scores of all paths through one lattice px (S, T+1 or T), py (S+1, T), each a sum of arcs."""
    S, T = py.shape[0] - 1, py.shape[1]

    def walk(s, t):
        if s == S and t == T:
            yield torch.zeros((), dtype=py.dtype)
        if t < T:
            yield from (py[s, t] + rest for rest in walk(s, t + 1))
        t_next = t if regular else t + 1
        if s < S and t < px.shape[1]:
            yield from (px[s, t] + rest for rest in walk(s + 1, t_next))

    return torch.stack(list(walk(0, 0)))


def arcs(rnnt_type, B=3, S=3, T=4, dtype=torch.float64):
    columns = T + 1 if rnnt_type == "regular" else T
    px, py = torch.randn(B, S, columns, dtype=dtype), torch.randn(B, S + 1, T, dtype=dtype)
    return px.requires_grad_(), py.requires_grad_()


BOUNDARY = torch.tensor([[0, 0, 3, 4], [1, 1, 2, 3], [1, 0, 1, 4]])


def test_equals_all_paths_enumerated(rnnt_type, backend, assert_close):
    px, py = arcs(rnnt_type)
    regular = rnnt_type == "regular"
    expected = []
    for b, (s0, t0, s1, t1) in enumerate(BOUNDARY.tolist()):
        columns = slice(t0, t1 + 1 if regular else t1)
        expected.append(all_paths(px[b, s0:s1, columns], py[b, s0 : s1 + 1, t0:t1], regular).logsumexp(0))
    expected = torch.stack(expected)
    score_B, (px_grad, py_grad) = mutual_information_recursion(px, py, BOUNDARY, return_grad=True, backend=backend)
    assert_close(score_B, expected, 1e-9)
    for found, returned, wanted in zip(
        torch.autograd.grad(score_B.sum(), (px, py)), (px_grad, py_grad), torch.autograd.grad(expected.sum(), (px, py))
    ):
        assert_close(found, wanted, 1e-9)
        assert_close(returned, wanted, 1e-9)


def test_gradcheck(rnnt_type):
    px, py = arcs(rnnt_type)
    assert torch.autograd.gradcheck(lambda px, py: mutual_information_recursion(px, py, BOUNDARY), (px, py))


def test_native_equals_reference(rnnt_type, assert_close):
    px, py = arcs(rnnt_type, B=4, S=9, T=14)
    boundary = torch.tensor([[0, 0, 9, 14], [0, 0, 5, 11], [0, 0, 0, 3], [2, 3, 8, 12]])
    native = mutual_information_recursion(px, py, boundary, True, backend="native")
    reference = mutual_information_recursion(px, py, boundary, True, backend="reference")
    assert_close(native[0], reference[0], 1e-12)
    for found, wanted in zip(native[1], reference[1]):
        assert_close(found, wanted, 1e-12)


@pytest.mark.parametrize("block", [1, 3, 23])
def test_the_size_of_the_blocks_changes_nothing(rnnt_type, block, monkeypatch, assert_close):
    """Utterances end within blocks, at their ends, and in different blocks."""
    monkeypatch.setattr(wavefront, "BLOCK", block)
    px, py = arcs(rnnt_type, B=4, S=9, T=14)
    boundary = torch.tensor([[0, 0, 9, 14], [0, 0, 5, 12], [0, 0, 0, 3], [0, 0, 4, 9]])
    native = mutual_information_recursion(px, py, boundary, True, backend="native")
    reference = mutual_information_recursion(px, py, boundary, True, backend="reference")
    for found, wanted in zip((native[0], *native[1]), (reference[0], *reference[1])):
        assert_close(found, wanted, 1e-12)


def test_occupations_count_symbols_and_frames(rnnt_type, backend):
    """Every path emits S_b symbols and consumes T_b frames, by blanks alone (regular) or by blanks and symbols."""
    px, py = arcs(rnnt_type, S=6, T=9, dtype=torch.float32)
    symbols_B, frames_B = torch.tensor([6, 3, 0]), torch.tensor([9, 7, 8])
    boundary = torch.stack((0 * symbols_B, 0 * symbols_B, symbols_B, frames_B), 1)
    _, (px_grad, py_grad) = mutual_information_recursion(px, py, boundary, return_grad=True, backend=backend)
    blanks_B = frames_B if rnnt_type == "regular" else frames_B - symbols_B
    torch.testing.assert_close(px_grad.sum((1, 2)), symbols_B.float())
    torch.testing.assert_close(py_grad.sum((1, 2)), blanks_B.float())
    assert px_grad.min() >= 0 and px_grad.max() <= 1 + 1e-5 and py_grad.min() >= 0 and py_grad.max() <= 1 + 1e-5


def test_a_constant_on_each_blank_adds_to_the_score_alone(backend):
    """Each regular path crosses each frame by exactly one blank."""
    px, py = arcs("regular", S=6, T=9)
    frame_T = torch.randn(9, dtype=torch.float64)
    score_B, grads = mutual_information_recursion(px, py, return_grad=True, backend=backend)
    moved_B, moved_grads = mutual_information_recursion(px, py + frame_T, return_grad=True, backend=backend)
    torch.testing.assert_close(moved_B, score_B + frame_T.sum())
    for before, after in zip(grads, moved_grads):
        torch.testing.assert_close(after, before)


def test_no_path(backend):
    """More symbols than frames in a modified lattice; all arcs impossible in another; the third is fine."""
    px, py = torch.zeros(3, 4, 3), torch.zeros(3, 5, 3)
    py[1] = -torch.inf
    px, py = px.requires_grad_(), py.requires_grad_()
    boundary = torch.tensor([[0, 0, 4, 3], [0, 0, 2, 3], [0, 0, 2, 3]])
    score_B, grads = mutual_information_recursion(px, py, boundary, return_grad=True, backend=backend)
    assert score_B[0] == score_B[1] == -torch.inf and torch.isfinite(score_B[2])
    # What a loss of minus the infinite score sends back may be infinite or not a number.
    incoming_B = torch.tensor([torch.inf, torch.nan, 1.0])
    for grad in (*grads, *torch.autograd.grad(score_B, (px, py), incoming_B)):
        assert torch.isfinite(grad).all() and (grad[:2] == 0).all() and grad[2].sum() > 0


def test_long_lattices_stay_exact():
    """In float32, with scores in the thousands: occupations still sum to the number of symbols to six digits."""
    px, py = 10 * torch.randn(2, 60, 301) - 10, 10 * torch.randn(2, 61, 300) - 10
    score_B, (px_grad, _) = mutual_information_recursion(px, py, return_grad=True)
    exact_B, (exact_grad, _) = mutual_information_recursion(px.double(), py.double(), return_grad=True)
    assert score_B.abs().min() > 1000
    torch.testing.assert_close(score_B.double(), exact_B, rtol=1e-6, atol=0)
    torch.testing.assert_close(px_grad.double(), exact_grad, rtol=0, atol=1e-6)
    assert not ((px_grad > 0) & (px_grad < torch.finfo(torch.float32).tiny)).any()


def test_joint_recursion_splits_the_score(rnnt_type, backend):
    first, second = arcs(rnnt_type), arcs(rnnt_type)
    parts_NB = joint_mutual_information_recursion(*zip(first, second), BOUNDARY, backend=backend)
    total_B, (px_grad, _) = mutual_information_recursion(
        first[0] + second[0], first[1] + second[1], BOUNDARY, return_grad=True
    )
    torch.testing.assert_close(parts_NB.sum(0), total_B)
    torch.testing.assert_close(torch.autograd.grad(parts_NB[1].sum(), second[0])[0], px_grad)


def test_shapes_and_boundaries_that_do_not_fit_are_refused():
    px, py = torch.zeros(2, 3, 5), torch.zeros(2, 4, 4)
    with pytest.raises(ValueError, match="do not fit"):
        mutual_information_recursion(px[:, :2], py)
    with pytest.raises(ValueError, match="boundary"):
        mutual_information_recursion(px, py, torch.tensor([[0, 0, 3, 4]]))
    with pytest.raises(ValueError, match="0 <= begin"):
        mutual_information_recursion(px, py, torch.tensor([[0, 0, 3, 4], [0, 0, 4, 4]]))
