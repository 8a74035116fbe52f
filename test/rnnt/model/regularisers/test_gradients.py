"""What balancer, whitening and limits do to gradients: icefall's numbers, and the definitions by autograd."""

import math

import numpy as np
import pytest
import torch

from rnnt.model.regularisers import chance
from rnnt.model.regularisers.balancer import Balancer
from rnnt.model.regularisers.limits import ScaleGradient, limited, penalised_above
from rnnt.model.regularisers.whiten import Whiten, metric_and_gradient


@pytest.fixture
def arrays(request):
    path = request.config.rootpath / "test" / "data" / "zipformer.npz"
    with np.load(path) as found:
        return {n: torch.from_numpy(found[n]) for n in found.files if found[n].dtype.kind != "U"}


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(chance, "happens", lambda probability: probability > 0)


def gradient(module, x, grad):
    x = x.clone().requires_grad_()
    y = module(x)
    assert torch.equal(y, x)
    y.backward(grad)
    return x.grad


def test_balancer_is_icefalls(arrays):
    balancer = Balancer(min_positive=0.3, max_positive=0.7, min_abs=0.5, max_abs=4.0)
    found = gradient(balancer, arrays["balancer/x"], arrays["balancer/grad_out"])
    torch.testing.assert_close(found, arrays["balancer/grad_in"], rtol=1e-5, atol=1e-6)
    assert not torch.equal(found, arrays["balancer/grad_out"])


@pytest.mark.parametrize("dim", [-1, 1])
def test_balancer_by_definition(dim):
    """Channels with a large mean, too small, too large, and within the limits."""
    torch.manual_seed(0)
    scales, means = torch.tensor([1.0, 0.01, 30.0, 1.0, 5.0]), torch.tensor([3.0, 0.0, 0.0, 0.0, -20.0])
    x = (torch.randn(40, 7, 5, dtype=torch.float64) * scales + means).transpose(-1, dim)
    grad = torch.randn_like(x)
    balancer = Balancer(dim, min_positive=0.2, max_positive=0.9, min_abs=0.5, max_abs=2.0)

    leaf = x.clone().requires_grad_()
    flat = leaf.transpose(dim, -1).flatten(0, -2)
    q, u = flat.square().mean(0), flat.mean(0)
    m, r = u / (q - u * u).sqrt(), q.sqrt()
    limits = [0.8139535143 * math.atanh(2 * p - 1) for p in (0.2, 0.9)]
    rms = [math.sqrt(math.pi / 2) * a for a in (0.5, 2.0)]
    penalty = (m - m.clamp(*limits)).abs() + (r.clamp(*rms) / r).log().abs()
    (g,) = torch.autograd.grad(penalty.sum(), leaf)
    size = g.transpose(dim, -1).flatten(0, -2).square().mean(0).sqrt()
    shape = [-1 if i == dim % 3 else 1 for i in range(3)]
    expected = grad + grad.abs() * g * 0.04 / size.clamp(min=1e-20).view(shape)
    assert (size == 0).tolist() == [False, False, False, True, False]
    torch.testing.assert_close(gradient(balancer, x, grad), expected, rtol=1e-5, atol=1e-6)


def test_whitening_is_icefalls(arrays):
    whiten = Whiten(2.0, groups=2, grad_scale=0.05)
    found = gradient(whiten, arrays["whiten/x"], arrays["whiten/grad_out"])
    torch.testing.assert_close(found, arrays["whiten/grad_in"], rtol=1e-5, atol=1e-6)
    metric, _ = metric_and_gradient(arrays["whiten/x"], 2)
    assert metric.item() == pytest.approx(arrays["whiten/metric"].item(), rel=1e-5)


@pytest.mark.parametrize("groups", [1, 3])
def test_whitening_by_definition(groups):
    torch.manual_seed(0)
    x = (torch.randn(4, 9, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 2).requires_grad_()
    y = x.reshape(-1, groups, 6 // groups)
    y = y - y.mean(0)
    M = torch.einsum("ngi,ngj->gij", y, y)
    expected = (M @ M).diagonal(dim1=1, dim2=2).mean() / M.diagonal(dim1=1, dim2=2).mean().square()
    metric, grad = metric_and_gradient(x.detach(), groups)
    torch.testing.assert_close(metric, expected)
    torch.testing.assert_close(grad, torch.autograd.grad(expected, x)[0])
    incoming = torch.randn_like(grad)
    below = gradient(Whiten(2 * metric.item(), groups), x.detach(), incoming)
    assert torch.equal(below, incoming)


def test_limits_change_the_sign_of_what_leads_further_out():
    x = torch.tensor([0.0, 0.0, 0.5, 2.0, 2.0], requires_grad=True)
    limited(x, 0.1, 1.0).backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))
    assert x.grad.tolist() == [-1.0, -1.0, 1.0, 1.0, 1.0]


def test_penalty_and_scale():
    x = torch.tensor([-30.0, -3.0, 26.0], requires_grad=True)
    penalised_above(x, 25.0, 0.01).backward(torch.ones(3))
    torch.testing.assert_close(x.grad, torch.tensor([0.99, 1.0, 1.01]))
    assert gradient(ScaleGradient(0.2), torch.ones(2), torch.ones(2)).tolist() == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("module", [Balancer(min_abs=50.0), Whiten(1.0), ScaleGradient(0.2)])
def test_evaluation_has_its_own_gradient(module):
    grad = torch.randn(6, 3)
    assert torch.equal(gradient(module.eval(), torch.randn(6, 3), grad), grad)
    module.train()
