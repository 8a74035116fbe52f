"""LAMB against its equations, computed step by step in double precision."""

import math

import pytest
import torch

from rnnt.optim.lamb import Lamb

SHAPES = [(7, 5), (5,), (3, 4, 2), (1,), (6,)]
ALONE = 4  # a tensor of zeros, whose ratio is 1


def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def by_hand(start, grads_of_step, lr, b1, b2, eps, decay, clip):
    """The equations of the docstring, element by element in Python's own floats."""
    p = [[float(x) for x in t.flatten()] for t in start]
    m = [[0.0] * len(t) for t in p]
    v = [[0.0] * len(t) for t in p]
    for t, grads in enumerate(grads_of_step, 1):
        g = [[float(x) for x in grad.flatten()] for grad in grads]
        divisor = max(1.0, math.sqrt(sum(x * x for row in g for x in row)) / clip)
        for i in range(len(p)):
            u = []
            for j, x in enumerate(g[i]):
                x /= divisor
                m[i][j] = b1 * m[i][j] + (1 - b1) * x
                v[i][j] = b2 * v[i][j] + (1 - b2) * x * x
                u.append(m[i][j] / (1 - b1**t) / (math.sqrt(v[i][j] / (1 - b2**t)) + eps) + decay * p[i][j])
            p_norm, u_norm = (math.sqrt(sum(x * x for x in row)) for row in (p[i], u))
            ratio = p_norm / u_norm if p_norm and u_norm else 1.0
            p[i] = [x - lr * ratio * y for x, y in zip(p[i], u)]
    return p


@pytest.mark.parametrize("clip", [1.0, 3.0, math.inf])
def test_is_the_equations(clip):
    start = tensors(0)
    start[ALONE].zero_()
    grads = [[g * scale for g in tensors(seed)] for seed, scale in zip(range(1, 7), (1, 5, 0.01, 1, 0, 2))]
    params = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer = Lamb(params, lr=0.02, betas=(0.9, 0.99), eps=1e-9, weight_decay=1e-3, clip_norm=clip)
    for of_step in grads:
        for p, g in zip(params, of_step):
            p.grad = g.clone()
        optimizer.step()
    expected = by_hand(start, grads, 0.02, 0.9, 0.99, 1e-9, 1e-3, clip)
    for p, row in zip(params, expected):
        torch.testing.assert_close(p.detach().flatten(), torch.tensor(row), rtol=2e-5, atol=1e-7)


def test_a_tensor_of_zeros_moves_with_ratio_one():
    p = torch.nn.Parameter(torch.zeros(4))
    p.grad = torch.tensor([0.1, -0.1, 0.1, 0.1])
    Lamb([p], lr=0.5, weight_decay=0.0).step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.5, 0.5, -0.5, -0.5]))


def test_the_step_is_a_fraction_of_the_tensor():
    """Without clipping, |change| = lr |p| whatever the size of tensor and gradient."""
    for size, slope in ((1e-3, 1e4), (10.0, 1e-6)):
        p = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)) * size)
        before = p.detach().clone()
        p.grad = torch.randn(50, generator=torch.Generator().manual_seed(1)) * slope
        Lamb([p], lr=0.03, clip_norm=math.inf).step()
        torch.testing.assert_close((p.detach() - before).norm(), 0.03 * before.norm())


def test_resume_is_bit_for_bit():
    def run(params, optimizer, seeds):
        for seed in seeds:
            for p, g in zip(params, tensors(seed)):
                p.grad = g
            optimizer.step()

    whole = [torch.nn.Parameter(t) for t in tensors(0)]
    run(whole, Lamb(whole, lr=0.01), range(1, 7))
    first = [torch.nn.Parameter(t) for t in tensors(0)]
    optimizer = Lamb(first, lr=0.01)
    run(first, optimizer, range(1, 4))
    second = [torch.nn.Parameter(p.detach().clone()) for p in first]
    resumed = Lamb(second, lr=0.5)
    resumed.load_state_dict(optimizer.state_dict())
    run(second, resumed, range(4, 7))
    assert all(torch.equal(a, b) for a, b in zip(whole, second))


def test_tensors_without_a_gradient_stay():
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    Lamb([p, q], lr=0.1).step()
    assert not torch.equal(p, torch.ones(3)) and torch.equal(q, torch.ones(3))
