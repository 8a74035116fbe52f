"""Against other implementations, where they import."""

import pytest
import torch

import rnnt.loss as losses
from rnnt.loss.k2.installed import import_k2

FRAMES_B, SYMBOLS_B = torch.tensor([20, 17, 12]), torch.tensor([8, 5, 0])


@pytest.fixture
def k2():
    return pytest.importorskip("k2")


def boundary():
    zero_B = torch.zeros_like(FRAMES_B)
    return torch.stack((zero_B, zero_B, SYMBOLS_B, FRAMES_B), 1)


def inputs(V=15):
    am, lm = ((2 * torch.randn(3, n, V)).requires_grad_() for n in (20, 9))
    return am, lm, torch.randint(0, V, (3, 8))


def test_torchaudio(assert_close):
    torchaudio = pytest.importorskip("torchaudio")
    logits = (2 * torch.randn(3, 20, 9, 15)).requires_grad_()
    symbols = torch.randint(1, 15, (3, 8))
    lengths = FRAMES_B.int(), SYMBOLS_B.int()
    expected_B = torchaudio.functional.rnnt_loss(logits, symbols.int(), *lengths, blank=0, clamp=-1, reduction="none")
    (expected_grad,) = torch.autograd.grad(expected_B.sum(), logits)
    found_B = losses.rnnt_loss(logits, symbols, 0, boundary(), reduction="none")
    (found_grad,) = torch.autograd.grad(found_B.sum(), logits)
    assert_close(found_B, expected_B, 1e-5)
    assert_close(found_grad, expected_grad, 1e-4)


@pytest.mark.parametrize("delay_penalty", [0.0, 0.1])
def test_k2_smoothed_and_pruned(k2, rnnt_type, delay_penalty, assert_close):
    am, lm, symbols = inputs()
    options = {"boundary": boundary(), "rnnt_type": rnnt_type, "delay_penalty": delay_penalty, "reduction": "sum"}
    found = {}
    for name, library in (("k2", k2), ("rnnt", losses)):
        loss, occupations = library.rnnt_loss_smoothed(lm, am, symbols, 7, 0.2, 0.1, return_grad=True, **options)
        ranges = library.get_rnnt_prune_ranges(*occupations, boundary(), 4)
        logits = torch.add(*library.do_rnnt_pruning(am, lm, ranges))
        pruned = library.rnnt_loss_pruned(logits, symbols, ranges, 7, **options)
        grads = [torch.autograd.grad(x, (am, lm), retain_graph=True) for x in (loss, pruned)]
        found[name] = [loss, *occupations, pruned, *grads[0], *grads[1]], ranges
    assert torch.equal(found["rnnt"][1], found["k2"][1])
    for actual, expected in zip(found["rnnt"][0], found["k2"][0]):
        assert_close(actual, expected, 1e-4)


def test_k2_log_probs(k2, rnnt_type):
    am, lm, symbols = inputs()
    full = am[:, :, None] + lm[:, None]
    ranges = torch.arange(4).expand(3, 20, 4)
    pruned = torch.add(*losses.do_rnnt_pruning(am, lm, ranges))
    for name, args in {
        "get_rnnt_logprobs": (lm, am, symbols, 7, rnnt_type, boundary()),
        "get_rnnt_logprobs_joint": (full, symbols, 7, rnnt_type, boundary()),
        "get_rnnt_logprobs_smoothed": (lm, am, symbols, 7, 0.2, 0.1, boundary(), rnnt_type),
        "get_rnnt_logprobs_pruned": (pruned, symbols, ranges, 7, boundary(), rnnt_type),
    }.items():
        for actual, expected in zip(getattr(losses, name)(*args), getattr(k2, name)(*args)):
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_k2_joint_recursion(k2, assert_close):
    px, py = [torch.randn(2, 4, 7) for _ in range(3)], [torch.randn(2, 5, 6) for _ in range(3)]
    bounds = torch.tensor([[0, 0, 4, 6], [1, 1, 3, 5]])
    joint = losses.joint_mutual_information_recursion(px, py, bounds)
    assert_close(joint, k2.joint_mutual_information_recursion(px, py, bounds), 1e-4)


def test_a_missing_k2_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "k2", None)
    with pytest.raises(ValueError, match="backend k2 needs a k2 built for torch"):
        import_k2()
