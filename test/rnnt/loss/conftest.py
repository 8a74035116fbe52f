import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).resolve().parents[2] / "data" / "k2_transducer_losses.npz"
TYPES = ("regular", "modified", "constrained")


def k2_or_none():
    try:
        import k2
    except Exception:
        return None
    return k2 if hasattr(k2, "rnnt_loss_smoothed") else None


def pytest_generate_tests(metafunc):
    """Runs tests that ask for `backend`, `rnnt_type` or `k2_case` over all of them."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", ["native", "reference"] + (["k2"] if k2_or_none() else []))
    if "rnnt_type" in metafunc.fixturenames:
        metafunc.parametrize("rnnt_type", TYPES)
    if "k2_case" in metafunc.fixturenames:
        with np.load(DATA) as cases:
            metafunc.parametrize("k2_case", sorted({key.split("/")[0] for key in cases}), indirect=True)


@pytest.fixture
def k2_case(request):
    """One case that a real k2 computed: its arrays as tensors, with `meta` a dict."""
    prefix = request.param + "/"
    with np.load(DATA) as cases:
        arrays = {key[len(prefix) :]: cases[key] for key in cases if key.startswith(prefix)}
    meta = json.loads(str(arrays.pop("meta")))
    return {"meta": meta, **{name: torch.from_numpy(array) for name, array in arrays.items()}}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(20240707)
    warnings.filterwarnings("ignore", message=".*NumPy.*")


@pytest.fixture
def assert_close():
    """Largest difference at most `rel` times the largest value: elements near zero are sums of cancelling terms."""

    def check(actual, expected, rel):
        assert actual.shape == expected.shape, (actual.shape, expected.shape)
        scale = expected.detach().abs().max().item() if expected.numel() else 0.0
        torch.testing.assert_close(actual.detach(), expected.detach(), rtol=0, atol=rel * max(scale, 1e-3))

    return check


class Batch:
    """A random batch for the trainer's losses, with gradients on all inputs."""

    def __init__(self, S=5, frames=(7, 6, 5), symbols=(5, 3, 0), V=9, D=6, T=7, dtype=torch.float64, peak=2.0):
        B = len(frames)

        def leaf(*shape):
            return (peak * torch.randn(*shape, dtype=torch.float64)).to(dtype).requires_grad_()

        self.am_BTV, self.lm_BUV = leaf(B, T, V), leaf(B, S + 1, V)
        self.enc_BTJ, self.pred_BUJ = leaf(B, T, D), leaf(B, S + 1, D)
        self.weight_VJ, self.bias_V = leaf(V, D), leaf(V)
        self.symbols_BS = torch.randint(0, V, (B, S))
        self.x_len_B, self.y_len_B = (torch.tensor(n, dtype=torch.int64) for n in (frames, symbols))

    @property
    def simple(self):
        return self.am_BTV, self.lm_BUV, self.symbols_BS, self.x_len_B, self.y_len_B

    @property
    def joiner(self):
        return self.enc_BTJ, self.pred_BUJ, self.weight_VJ, self.bias_V, self.symbols_BS

    @property
    def lengths(self):
        return self.x_len_B, self.y_len_B

    def gradients(self, loss):
        leaves = (self.am_BTV, self.lm_BUV, self.enc_BTJ, self.pred_BUJ, self.weight_VJ, self.bias_V)
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        return [g for g in found if g is not None]


@pytest.fixture
def make_batch():
    return Batch
