"""NaN and overflow in the inputs reach the loss and its gradient; only an utterance without any path counts as zero."""

import pytest
import torch

import rnnt.loss as losses
from rnnt.loss import full_joiner_loss, mutual_information_recursion, prune_ranges, pruned_joiner_loss, smoothed_loss

# An installed k2 decides itself what its recursion makes of such values.
ours = pytest.mark.parametrize("ours", ["native", "reference"])
SCALES = {"lm_only_scale": 0.25, "am_only_scale": 0.0}


def trainers_losses(batch, backend, rnnt_type):
    """{name: (loss_B, usable_B or None)}, with ranges that do not depend on the values."""
    options = {"blank_id": 4, "rnnt_type": rnnt_type, "backend": backend}
    B, T = batch.enc_BTJ.shape[:2]
    ranges_BTR = torch.arange(6).expand(B, T, 6)
    return {
        "simple": (smoothed_loss(*batch.simple, **SCALES, **options)[0], None),
        "pruned": pruned_joiner_loss(*batch.joiner, ranges_BTR, *batch.lengths, **options),
        "full": full_joiner_loss(*batch.joiner, *batch.lengths, **options),
    }


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_nan_makes_the_loss_and_the_gradient_of_its_utterance_nan(make_batch, backend, rnnt_type, value):
    batch = make_batch(frames=(7, 6, 4), symbols=(5, 3, 5))
    clean = trainers_losses(batch, backend, rnnt_type)
    with torch.no_grad():
        batch.am_BTV[1, 2, 3] = value
        batch.enc_BTJ[1, 2] = torch.nan  # tanh makes a number of infinity
        batch.am_BTV[2, 1], batch.enc_BTJ[2, 1] = value, torch.nan
    for name, (loss_B, usable_B) in trainers_losses(batch, backend, rnnt_type).items():
        short = rnnt_type != "regular"  # the last utterance: four frames can't carry five tokens
        assert torch.isnan(loss_B).tolist() == [False, True, not short], name
        assert torch.equal(loss_B[0], clean[name][0][0])
        assert loss_B[2] == 0 or not short
        assert usable_B is None or usable_B.tolist() == [True, True, not short]
        source = batch.am_BTV if name == "simple" else batch.enc_BTJ
        (grad,) = torch.autograd.grad(loss_B[:2].sum(), source)
        assert torch.isfinite(grad[0]).all() and torch.isnan(grad[1]).any()


@ours
@pytest.mark.parametrize("full", [False, True])
def test_an_overflow_of_the_logits_is_not_a_missing_path(make_batch, ours, full):
    """Infinite logits of a token that no transcript has, as float16 has them beyond 65504."""
    batch = make_batch(V=9, dtype=torch.float32, peak=0.5)
    batch.symbols_BS = batch.symbols_BS % 4
    with torch.no_grad():
        batch.enc_BTJ.fill_(5.0)
        batch.weight_VJ[7] = 3e38
    ranges = [] if full else [torch.arange(6).expand(3, 7, 6)]
    function = full_joiner_loss if full else pruned_joiner_loss
    loss_B, usable_B = function(*batch.joiner, *ranges, *batch.lengths, blank_id=4, backend=ours)
    assert torch.isnan(loss_B).all() and usable_B.all()
    (grad,) = torch.autograd.grad(loss_B.sum(), batch.weight_VJ)
    assert not torch.isfinite(grad).all()


@ours
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_a_nan_logit_in_k2s_functions(ours, rnnt_type, reduction):
    logits = torch.randn(2, 6, 4, 8)
    logits[0, 2, 1, 3] = torch.nan
    logits.requires_grad_()
    symbols = torch.tensor([[1, 2, 3], [4, 5, 0]])
    boundary = torch.tensor([[0, 0, 3, 6], [0, 0, 2, 4]])
    ranges = torch.arange(4).expand(2, 6, 4)
    for loss in (
        losses.rnnt_loss(logits, symbols, 0, boundary, rnnt_type, reduction=reduction, backend=ours),
        losses.rnnt_loss_pruned(logits, symbols, ranges, 0, boundary, rnnt_type, reduction=reduction, backend=ours),
    ):
        assert torch.isnan(loss).tolist() == ([True, False] if reduction == "none" else True)
        (grad,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
        assert torch.isnan(grad[0]).any()


@ours
def test_a_nan_arc_makes_score_and_occupations_nan_and_minus_infinity_does_not(ours, rnnt_type):
    columns = 5 if rnnt_type == "regular" else 4
    px, py = torch.randn(3, 2, columns, dtype=torch.float64), torch.randn(3, 3, 4, dtype=torch.float64)
    py[0, 1, 1], py[1, :, 3] = torch.nan, -torch.inf
    if rnnt_type != "regular":
        px[1, :, 3] = -torch.inf
    else:
        px[1, 1] = -torch.inf
    score_B, grads = mutual_information_recursion(px, py, None, True, ours)
    assert torch.isnan(score_B).tolist() == [True, False, False] and score_B[1] == -torch.inf
    for grad in grads:
        assert torch.isnan(grad[0]).any() and (grad[1] == 0).all() and torch.isfinite(grad[2]).all()


def test_windows_that_begin_above_state_0_leave_no_path(make_batch, backend, rnnt_type):
    """Also where the slot of their first state is that of state 0."""
    batch = make_batch(S=5, T=7, frames=(7, 7, 7), symbols=(5, 5, 5))
    start_BT = torch.tensor([[2] * 3 + [3] * 4, [3] * 7, [0, 1, 2, 3, 3, 3, 3]])
    ranges_BTR = start_BT[:, :, None] + torch.arange(3)
    options = {"blank_id": 4, "rnnt_type": rnnt_type, "backend": backend}
    loss_B, usable_B = pruned_joiner_loss(*batch.joiner, ranges_BTR, *batch.lengths, **options)
    assert usable_B.tolist() == [False, False, True]
    assert (loss_B[:2] == 0).all() and loss_B[2] > 0
    (grad,) = torch.autograd.grad(loss_B.sum(), batch.enc_BTJ)
    assert (grad[:2] == 0).all() and grad[2].any()


def test_an_empty_batch(make_batch, rnnt_type):
    for backend in ("native", "reference"):
        batch = make_batch(frames=(), symbols=())
        options = {"blank_id": 4, "rnnt_type": rnnt_type, "backend": backend}
        simple_B, px_grad, py_grad = smoothed_loss(*batch.simple, lm_only_scale=0.25, am_only_scale=0.1, **options)
        ranges_BTR = prune_ranges(px_grad, py_grad, *batch.lengths, 3, rnnt_type)
        pruned_B, usable_B = pruned_joiner_loss(*batch.joiner, ranges_BTR, *batch.lengths, **options)
        full_B, _ = full_joiner_loss(*batch.joiner, *batch.lengths, **options)
        assert all(x.shape == (0,) for x in (simple_B, pruned_B, usable_B, full_B))
        for grad in batch.gradients(simple_B.sum() + pruned_B.sum() + full_B.sum()):
            assert (grad == 0).all()
        score_B = mutual_information_recursion(px_grad, py_grad, backend=backend)
        assert score_B.shape == (0,)
        for reduction, shape in (("none", (0,)), ("sum", ()), ("mean", ())):
            loss = losses.rnnt_loss_smoothed(
                batch.lm_BUV, batch.am_BTV, batch.symbols_BS, 4, rnnt_type=rnnt_type, reduction=reduction,
                backend=backend,
            )  # fmt: skip
            assert loss.shape == shape and (loss == 0).all()
            assert torch.autograd.grad(loss.sum(), batch.am_BTV)[0].shape == batch.am_BTV.shape
