"""ScaledAdam: its equations, what changes nothing, clipping, resume, and that it learns."""

import pytest
import torch

from rnnt.optim.scaled_adam import ScaledAdam

SHAPES = [(6, 5), (4, 6), (6,)]


def tensors(seed, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def run(start, grads_of_step, **options):
    """Parameters after some updates with given gradients."""
    params = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer = ScaledAdam(params, **{"lr": 0.03, **options})
    for grads in grads_of_step:
        for p, g in zip(params, grads):
            p.grad = g.clone()
        optimizer.step()
    return [p.detach() for p in params]


def usual(seeds):
    return [tensors(seed) for seed in seeds]


def test_is_the_equations():
    start, grads_of_step = tensors(0), usual(range(1, 6))
    b1, b2, lr, eta = 0.9, 0.98, 0.03, 0.1
    p = [t.double() for t in start]
    m, v = ([torch.zeros_like(t) for t in p] for _ in range(2))
    n, w = [0.0] * len(p), [0.0] * len(p)
    for t, grads in enumerate(grads_of_step, 1):
        for i, g in enumerate(grads):
            g, r = g.double(), p[i].square().mean().sqrt()
            h = (p[i] * g).sum()
            m[i], v[i] = b1 * m[i] + (1 - b1) * g, b2 * v[i] + (1 - b2) * g**2
            n[i], w[i] = b1 * n[i] + (1 - b1) * h, b2 * w[i] + (1 - b2) * h**2
            direction = m[i] / (1 - b1**t) / ((v[i] / (1 - b2**t)).sqrt() + 1e-8)
            along = n[i] / (1 - b1**t) / ((w[i] / (1 - b2**t)).sqrt() + 1e-8)
            p[i] = p[i] - lr * r * direction - lr * eta * along * p[i]
    for ours, theirs in zip(run(start, grads_of_step, clip_scale=1e9), p):
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size, slope", [(0.01, 1.0), (1.0, 1e-2), (2.0, 1e4)])
def test_the_first_step_is_a_share_of_the_tensors_rms(size, slope):
    (start,) = tensors(0, [(40,)])
    (grad,) = tensors(1, [(40,)])
    (after,) = run([size * start], [[slope * grad]], scale_lr=0.0)
    rms = (size * start).square().mean().sqrt()
    torch.testing.assert_close(after - size * start, -0.03 * rms * grad.sign(), rtol=1e-3, atol=1e-5 * size)


def test_size_of_loss_and_of_tensors_changes_nothing():
    start, grads_of_step = tensors(0), usual(range(1, 9))
    plain = run(start, grads_of_step)
    louder = run(start, [[1000 * g for g in grads] for grads in grads_of_step])
    sizes = [0.1, 0.5, 0.9]
    scaled = run(
        [k * t for k, t in zip(sizes, start)], [[g / k for k, g in zip(sizes, grads)] for grads in grads_of_step]
    )
    for one, other, another, k in zip(plain, louder, scaled, sizes):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(k * one, another, rtol=1e-4, atol=1e-5)


def test_the_size_of_a_tensor_is_learned():
    """Gradients along the tensor: it grows or shrinks by lr x scale_lr a step besides Adam's own step."""
    start = [torch.full((10,), 0.5)]
    for sign in (1.0, -1.0):
        (with_scale,), (without,) = (run(start, [[sign * start[0]]], scale_lr=eta) for eta in (0.1, 0.0))
        torch.testing.assert_close(with_scale - without, -sign * 0.03 * 0.1 * start[0])


def test_tensors_too_large_shrink_and_zeros_grow():
    (large,) = run([torch.full((10,), 5.0)], [[torch.zeros(10)]] * 3)
    torch.testing.assert_close(large, torch.full((10,), 5.0 * (1 - 0.003) ** 3))
    (zero,) = run([torch.zeros(10)], [[torch.ones(10)]], min_rms=1e-2)
    torch.testing.assert_close(zero, torch.full((10,), -0.03 * 1e-2))


def test_unusual_gradients_are_scaled_to_a_multiple_of_the_median():
    """A run with a huge gradient is one whose gradient had twice the median norm; what follows is not touched."""
    start, before, after = tensors(0), usual(range(1, 12)), usual(range(20, 23))
    norms = []
    for number, grads in enumerate(before):
        sizes = [p.square().mean().sqrt() for p in run(start, before[:number])]
        norms.append(torch.stack([(r * g).norm() for r, g in zip(sizes, grads)]).norm())
    sizes = [p.square().mean().sqrt() for p in run(start, before)]
    spike = tensors(15)
    norm = torch.stack([(r * g).norm() for r, g in zip(sizes, spike)]).norm()
    expected = [g * 2.0 * torch.stack(norms).median() / norm for g in spike]
    clipped = run(start, [*before, [1e4 * g for g in spike], *after])
    by_hand = run(start, [*before, expected, *after])
    unclipped = run(start, [*before, [1e4 * g for g in spike], *after], clip_scale=1e9)
    for one, other, third in zip(clipped, by_hand, unclipped):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(one, third, rtol=1e-2)


def test_resume_is_bit_for_bit():
    def go_on(params, optimizer, seeds):
        for seed in seeds:
            for p, g in zip(params, tensors(seed)):
                p.grad = g
            optimizer.step()

    whole = [torch.nn.Parameter(t) for t in tensors(0)]
    go_on(whole, ScaledAdam(whole, lr=0.03), range(1, 9))
    first = [torch.nn.Parameter(t) for t in tensors(0)]
    optimizer = ScaledAdam(first, lr=0.03)
    go_on(first, optimizer, range(1, 5))
    second = [torch.nn.Parameter(p.detach().clone()) for p in first]
    resumed = ScaledAdam(second, lr=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    go_on(second, resumed, range(5, 9))
    assert all(torch.equal(a, b) for a, b in zip(whole, second))


def test_learns_a_badly_scaled_problem():
    """Two layers, inputs of sizes 0.01 to 100: the loss falls by more than 20 times in 600 updates."""
    torch.manual_seed(0)
    x = torch.randn(256, 8) * torch.logspace(-2, 2, 8)
    y = torch.tanh(x / torch.logspace(-2, 2, 8) @ torch.randn(8, 3))
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3))
    optimizer = ScaledAdam(model.parameters(), lr=0.045)
    losses = []
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.045 * (1 + (step / 100) ** 2) ** -0.5
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0], (losses[0], losses[-1])
