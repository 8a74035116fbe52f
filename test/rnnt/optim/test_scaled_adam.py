"""ScaledAdam: icefall's numbers, its equations, what changes nothing, clipping, resume, and that it learns."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.optim.scaled_adam import ScaledAdam
from rnnt.optim.schedule import Eden, TrainingProgress

SHAPES = [(6, 5), (4, 6), (6,), (), (6, 5)]
# Computed by icefall's own classes; the arrays are described where they are read.
VECTORS = Path(__file__).parents[2] / "data" / "icefall_training.npz"


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


def test_250_updates_are_icefalls():
    """Six tensors, given gradients of which some are to be clipped, Eden's learning rates."""
    with np.load(VECTORS) as file:
        arrays = {name.removeprefix("scaled_adam/"): file[name] for name in file.files if "scaled_adam" in name}
    meta = json.loads(str(arrays["meta"]))
    names = [name.removeprefix("start/") for name in arrays if name.startswith("start/")]
    params = {name: torch.nn.Parameter(torch.tensor(arrays[f"start/{name}"])) for name in names}
    optimizer = ScaledAdam(params.values(), lr=meta["lr"], clipping_scale=meta["clipping_scale"])
    eden = Eden(int(meta["warmup_batches"]), meta["warmup_start"], meta["lr_batches"], meta["lr_epochs"])
    snapshots = {int(number): i for i, number in enumerate(arrays["snapshots_after_updates"])}
    clipped = 0
    for update, lr in enumerate(arrays["lr"]):
        found = eden.learning_rate(meta["lr"], TrainingProgress(update - 1, 0.0, 1 + update // 60, 60))
        assert found == pytest.approx(lr, rel=1e-12)
        optimizer.param_groups[0]["lr"] = found
        for name, p in params.items():
            p.grad = torch.tensor(arrays[f"grads/{name}"][update])
        before = optimizer.param_groups[0]["num_clipped"]
        optimizer.step()
        clipped += optimizer.param_groups[0]["num_clipped"] > before
        if update + 1 in snapshots:
            for name, p in params.items():
                expected = torch.tensor(arrays[f"after/{name}"][snapshots[update + 1]])
                assert (p.detach() - expected).norm() <= 2e-6 * expected.norm(), (name, update)
    assert max(snapshots) == 250 and clipped == 3


def test_the_published_recipe_step_by_step():
    """Three tensors under a gradient that depends on them, spikes every 17 updates: numbers of icefall."""
    start = torch.sin(torch.arange(12.0)).reshape(3, 4), 0.1 * torch.cos(torch.arange(5.0)), torch.tensor(0.7)
    params = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer, eden = ScaledAdam(params), Eden(warmup_start=0.1)
    expected = {
        10: (-0.01280882, 0.83672315, 0.09847677, 0.69814104, 0.00530999764),
        51: (-0.03250217, 0.74957329, 0.09533706, 0.69043684, 0.00863090023),
        230: (-0.01131349, 0.38012967, 0.08588041, 0.61156017, 0.0231245651),
    }
    for t in range(230):
        lr = optimizer.param_groups[0]["lr"] = eden.learning_rate(0.045, TrainingProgress(t, 0.0, 1, 1000))
        for p in params:
            wave = torch.sin(0.3 * t + 0.9 * torch.arange(p.numel(), dtype=torch.float64) + 1)
            p.grad = (wave * (11 if t % 17 == 5 else 1)).reshape(p.shape).float() + 0.5 * p.detach()
        optimizer.step()
        if t + 1 in expected:
            found = [params[0][0, 0].item(), params[0][0, 1].item(), params[1][0].item(), params[2].item(), lr]
            assert found == pytest.approx(expected[t + 1], abs=1e-6)


def test_is_the_equations():
    start, grads_of_step = tensors(0), usual(range(1, 10))
    b1, b2, lr, eta, period = 0.9, 0.98, 0.03, 0.1, 4
    p = [t.double() for t in start]
    m, v = ([torch.zeros_like(t) for t in p] for _ in range(2))
    w, r, s = [0.0] * len(p), [t.square().mean().sqrt() for t in p], [[] for _ in p]
    for t, grads in enumerate(grads_of_step):
        for i, g in enumerate(grads):
            g = g.double()
            v[i] = b2 * v[i] + (1 - b2) * g**2
            d = -lr * g / ((v[i] / (1 - b2 ** (t + 1))).sqrt() + 1e-8)
            s[i].append((p[i] * g).sum())
            if t % period == period - 1:
                r[i] = p[i].square().mean().sqrt()
            d = d * (eta if g.ndim == 0 else r[i])
            if t % period == period - 1 and g.ndim:
                last, b = torch.stack(s[i][-period:]), b2**period
                w[i] = b * w[i] + (1 - b) * last.square().mean()
                k = (t + 1) // period
                d = d - lr * eta * (1 - b**k) ** 0.5 * last.sum() / (w[i] ** 0.5 + 1e-8) * p[i]
            m[i] = b1 * m[i] + (1 - b1) * d
            p[i] = p[i] + m[i]
    for ours, theirs in zip(run(start, grads_of_step, clipping_scale=None), p):
        torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-6)


def test_tensors_of_one_shape_are_computed_as_if_each_were_alone():
    start, grads_of_step = tensors(0), usual(range(1, 10))
    together = run(start, grads_of_step, clipping_scale=None)
    for i, found in enumerate(together):
        (alone,) = run([start[i]], [[grads[i]] for grads in grads_of_step], clipping_scale=None)
        torch.testing.assert_close(found, alone)


def test_a_missing_gradient_counts_as_zero():
    start, grads_of_step = tensors(0), usual(range(1, 13))
    zero = [[torch.zeros_like(grads[0]), *grads[1:]] for grads in grads_of_step]
    params = [torch.nn.Parameter(t.clone()) for t in start]
    optimizer = ScaledAdam(params, lr=0.03)
    for grads in grads_of_step:
        for p, g in zip(params[1:], grads[1:]):
            p.grad = g.clone()
        optimizer.step()
    ScaledAdam([torch.nn.Parameter(torch.ones(2))]).step()
    assert all(torch.equal(p.detach(), other) for p, other in zip(params, run(start, zero)))


@pytest.mark.parametrize("size, slope", [(0.01, 1.0), (1.0, 1e-2), (2.0, 1e4)])
def test_the_first_step_is_a_fraction_of_the_tensors_rms(size, slope):
    (start,) = tensors(0, [(40,)])
    (grad,) = tensors(1, [(40,)])
    (after,) = run([size * start], [[slope * grad]])
    rms = (size * start).square().mean().sqrt()
    torch.testing.assert_close(after - size * start, -0.1 * 0.03 * rms * grad.sign(), rtol=1e-3, atol=1e-5 * size)


def test_size_of_loss_and_of_tensors_changes_nothing():
    start, grads_of_step = tensors(0, SHAPES[:3]), [tensors(seed, SHAPES[:3]) for seed in range(1, 14)]
    plain = run(start, grads_of_step)
    louder = run(start, [[1000 * g for g in grads] for grads in grads_of_step])
    sizes = [0.1, 0.5, 0.9]
    scaled = run(
        [k * t for k, t in zip(sizes, start)], [[g / k for k, g in zip(sizes, grads)] for grads in grads_of_step]
    )
    for one, other, another, k in zip(plain, louder, scaled, sizes):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(k * one, another, rtol=1e-4, atol=1e-5)


def test_limits_of_sizes():
    """Zeros begin to move by the least size; a tensor beyond the largest size shrinks to it; a number stays within."""
    (zero,) = run([torch.zeros(10)], [[torch.ones(10)]], param_min_rms=1e-2)
    torch.testing.assert_close(zero, torch.full((10,), -0.1 * 0.03 * 1e-2))
    quiet = [[torch.zeros(10)]] * 4
    (large,) = run([torch.full((10,), 5.0)], quiet)
    torch.testing.assert_close(large, torch.full((10,), 5.0 + 0.1 * (3.0 - 5.0)))
    (number,) = run([torch.tensor(12.0)], [[torch.tensor(0.0)]])
    assert number == 10


def test_no_step_along_a_tensor_is_more_than_a_tenth_of_it():
    start, grads, lr = torch.full((10,), 0.5), [[torch.full((10,), 1e-3)]] * 4, 2.0
    (fast,) = run([start], grads, lr=lr, clipping_scale=None)
    (still,) = run([start], grads, lr=lr, clipping_scale=None, scalar_lr_scale=0.0)
    p, m = start.clone(), 0.0
    for _ in range(3):  # of gradients of one sign
        m = 0.9 * m - 0.1 * lr * start
        p = p + m
    torch.testing.assert_close(fast - still, 0.1 * -0.1 * p, rtol=1e-3, atol=1e-6)


def norm_of(params, grads, sizes):
    return float(torch.stack([(g * r).norm() for g, r in zip(grads, sizes)]).norm())


def test_unusual_gradients_are_scaled_to_a_multiple_of_the_median(monkeypatch):
    """After ten updates a huge gradient is one of four times the median norm; what follows is not touched."""
    shapes = SHAPES[:3]
    start, before = tensors(0, shapes), [tensors(seed, shapes) for seed in range(1, 12)]
    spike, after = tensors(15, shapes), [tensors(seed, shapes) for seed in range(20, 23)]
    sizes_at = [[p.square().mean().sqrt() for p in run(start, before[:n], clipping_scale=None)] for n in range(12)]
    held = [sizes_at[0]] * 4 + [sizes_at[3]] * 4 + [sizes_at[7]] * 4  # sizes are taken before each fourth update
    norms = [norm_of(start, grads, sizes) for grads, sizes in list(zip(before, held))[1:]]
    threshold = 4 * sorted(norms)[4]  # of ten norms, the one that icefall calls the median
    expected = [g * threshold / norm_of(start, spike, held[11]) for g in spike]
    lines = []
    monkeypatch.setattr("rnnt.optim.scaled_adam.log.info", lambda text, *values: lines.append(text % values))
    clipped = run(start, [*before, [1e4 * g for g in spike], *after])
    (line,) = lines
    assert f"threshold {threshold:.3e}," in line and "quartiles" in line
    by_hand = run(start, [*before, expected, *after], clipping_scale=None)
    unclipped = run(start, [*before, [1e4 * g for g in spike], *after], clipping_scale=None)
    for one, other, third in zip(clipped, by_hand, unclipped):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(one, third, rtol=1e-2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_counts_as_zero(bad):
    start, grads_of_step = tensors(0), usual(range(1, 14))
    zeros = [torch.zeros_like(g) for g in grads_of_step[0]]
    broken = [g.clone() for g in grads_of_step[5]]
    broken[0][0, 0] = bad
    found = run(start, [*grads_of_step[:5], broken, *grads_of_step[6:]], clipping_scale=1e9)
    expected = run(start, [*grads_of_step[:5], zeros, *grads_of_step[6:]], clipping_scale=1e9)
    assert all(torch.equal(a, b) for a, b in zip(found, expected))
    with pytest.raises(RuntimeError, match="not finite"):
        run(start, [grads_of_step[0], *[broken] * 10])


def test_resume_is_bit_for_bit():
    def run_steps(params, optimizer, seeds):
        for seed in seeds:
            for p, g in zip(params, tensors(seed)):
                p.grad = g
            optimizer.step()

    whole = [torch.nn.Parameter(t) for t in tensors(0)]
    run_steps(whole, ScaledAdam(whole, lr=0.03), range(1, 17))
    first = [torch.nn.Parameter(t) for t in tensors(0)]
    optimizer = ScaledAdam(first, lr=0.03)
    run_steps(first, optimizer, range(1, 7))
    second = [torch.nn.Parameter(p.detach().clone()) for p in first]
    resumed = ScaledAdam(second, lr=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    run_steps(second, resumed, range(7, 17))
    assert all(torch.equal(a, b) for a, b in zip(whole, second))
    assert resumed.param_groups[0]["threshold"] is not None


def test_the_state_of_another_optimizer_is_refused():
    params = [torch.nn.Parameter(t) for t in tensors(0)]
    with pytest.raises(ValueError, match="another optimizer"):
        ScaledAdam(params).load_state_dict(torch.optim.Adam(params).state_dict())


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
