"""k2's interface: the cases that a real k2 computed, reductions, options, and utterances without a path."""

import pytest
import torch

import rnnt.loss as losses
from rnnt.loss.k2.losses import reduce


def options(case, **more):
    meta = case["meta"]
    keys = ("rnnt_type", "delay_penalty")
    return {"boundary": case["boundary"], "reduction": "none", **{k: meta[k] for k in keys}, **more}


@pytest.mark.parametrize("name", ["simple", "smoothed"])
def test_simple_losses_equal_k2(k2_case, name, backend, assert_close):
    meta = k2_case["meta"]
    am, lm = k2_case["am"].requires_grad_(), k2_case["lm"].requires_grad_()
    scales = {k: meta[k] for k in ("lm_only_scale", "am_only_scale")} if name == "smoothed" else {}
    loss_B, (px_grad, py_grad) = getattr(losses, f"rnnt_loss_{name}")(
        lm, am, k2_case["symbols"], meta["termination_symbol"], return_grad=True, backend=backend,
        **options(k2_case, **scales),
    )  # fmt: skip
    loss_B.sum().backward()
    assert_close(loss_B, k2_case[f"{name}_loss"], 1e-5)
    assert_close(am.grad, k2_case[f"{name}_am_grad"], 1e-4)
    assert_close(lm.grad, k2_case[f"{name}_lm_grad"], 1e-4)
    if name == "smoothed":
        assert_close(px_grad, k2_case["px_grad"], 1e-4)
        assert_close(py_grad, k2_case["py_grad"], 1e-4)
        ranges = losses.get_rnnt_prune_ranges(px_grad, py_grad, k2_case["boundary"], meta["s_range"])
        assert torch.equal(ranges, k2_case["ranges"])


@pytest.mark.parametrize("name", ["pruned", "full"])
def test_joiner_losses_equal_k2(k2_case, name, backend, assert_close):
    logits = k2_case[f"{name}_logits"].requires_grad_()
    args = (k2_case["symbols"], *([k2_case["ranges"]] if name == "pruned" else []))
    function = losses.rnnt_loss_pruned if name == "pruned" else losses.rnnt_loss
    loss_B = function(logits, *args, k2_case["meta"]["termination_symbol"], backend=backend, **options(k2_case))
    loss_B.sum().backward()
    assert_close(loss_B, k2_case[f"{name}_loss"], 1e-5)
    assert_close(logits.grad, k2_case[f"{name}_logits_grad"], 1e-4)


def test_reductions_and_defaults(k2_case):
    args = (k2_case["lm"], k2_case["am"], k2_case["symbols"], k2_case["meta"]["termination_symbol"])
    loss_B = losses.rnnt_loss_simple(*args, reduction="none")
    torch.testing.assert_close(losses.rnnt_loss_simple(*args), loss_B.mean())
    torch.testing.assert_close(losses.rnnt_loss_simple(*args, reduction="sum"), loss_B.sum())
    with pytest.raises(ValueError, match="reduction"):
        losses.rnnt_loss_simple(*args, reduction="median")


def test_smoothing_scales_of_zero_are_the_simple_loss(make_batch, rnnt_type, assert_close):
    """Either name, by the native loss, is the loss of the joiner that adds: log_softmax(am + lm) on each node."""
    batch = make_batch(frames=(7, 7, 7))
    logits = batch.am_BTV[:, :, None] + batch.lm_BUV[:, None]
    expected_B = losses.rnnt_loss(logits, batch.symbols_BS, 3, None, rnnt_type, 0.0, "none", "reference")
    args = (batch.lm_BUV, batch.am_BTV, batch.symbols_BS, 3)
    smoothed_B = losses.rnnt_loss_smoothed(*args, 0.0, 0.0, rnnt_type=rnnt_type, reduction="none")
    simple_B = losses.rnnt_loss_simple(*args, rnnt_type=rnnt_type, reduction="none")
    expected = [expected_B, *batch.gradients(expected_B.sum())]
    for loss_B in (smoothed_B, simple_B):
        for found, wanted in zip([loss_B, *batch.gradients(loss_B.sum())], expected):
            assert_close(found, wanted, 1e-9)


def test_hybrid_autoregressive_transducer_of_logits_that_are_already_so(make_batch, assert_close):
    """Shifting blank such that its sigmoid equals its softmax probability makes both normalisations the same."""
    B, T, S, V = 3, 7, 5, 9
    logits = torch.randn(B, T, 4, V, dtype=torch.float64)
    logits = logits - torch.cat((torch.zeros(B, T, 4, 1), logits[..., 1:].logsumexp(3, True).expand(-1, -1, -1, 8)), 3)
    ranges = torch.arange(4).expand(B, T, 4)
    boundary = torch.tensor([[0, 0, 3, 7], [0, 0, 2, 6], [0, 0, 0, 5]])
    args = (logits, torch.randint(1, V, (B, S)), ranges)
    hat = losses.rnnt_loss_pruned(*args, 0, boundary, use_hat_loss=True, reduction="none")
    assert_close(hat, losses.rnnt_loss_pruned(*args, 0, boundary, reduction="none"), 1e-12)
    with pytest.raises(ValueError, match="blank at 0"):
        losses.rnnt_loss_pruned(*args, 1, boundary, use_hat_loss=True)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_an_utterance_without_a_path_does_not_spoil_the_batch(make_batch, reduction):
    batch = make_batch(frames=(7, 2, 5), symbols=(5, 3, 0))
    boundary = torch.tensor([[0, 0, 5, 7], [0, 0, 3, 2], [0, 0, 0, 5]])
    loss = losses.rnnt_loss_simple(
        batch.lm_BUV, batch.am_BTV, batch.symbols_BS, 0, boundary, "modified", reduction=reduction
    )
    if reduction == "none":
        assert loss[1] == torch.inf and torch.isfinite(loss[[0, 2]]).all()
    else:
        assert torch.isfinite(loss)
    lm_grad, am_grad = torch.autograd.grad(loss.sum(), (batch.lm_BUV, batch.am_BTV))
    assert torch.isfinite(lm_grad).all() and torch.isfinite(am_grad).all()
    assert (lm_grad[1] == 0).all() and (am_grad[1] == 0).all() and am_grad[0].abs().sum() > 0


def test_a_batch_without_any_text_is_all_blank(backend, assert_close):
    if backend == "k2":
        pytest.skip("k2 refuses it")
    am, lm = torch.randn(2, 4, 5, dtype=torch.float64), torch.randn(2, 1, 5, dtype=torch.float64)
    symbols = torch.zeros(2, 0, dtype=torch.int64)
    blank_B = torch.log_softmax(am + lm, 2)[:, :, 4].sum(1)
    simple = losses.rnnt_loss_simple(lm, am, symbols, 4, reduction="none", backend=backend)
    full = losses.rnnt_loss((am + lm)[:, :, None], symbols, 4, reduction="none", backend=backend)
    assert_close(simple, -blank_B, 1e-9)
    assert_close(full, -blank_B, 1e-9)


def test_unknown_names_are_refused(make_batch):
    batch = make_batch()
    with pytest.raises(ValueError, match="rnnt_type"):
        losses.rnnt_loss_simple(batch.lm_BUV, batch.am_BTV, batch.symbols_BS, 0, rnnt_type="normal")
    with pytest.raises(ValueError, match="backend"):
        losses.rnnt_loss_simple(batch.lm_BUV, batch.am_BTV, batch.symbols_BS, 0, backend="fast")
    with pytest.raises(AttributeError):
        losses.rnnt_loss_fast  # noqa: B018
    assert reduce(torch.tensor([1.0, torch.inf]), "sum") == 1.0
