import pytest
import torch

import rnnt.loss as losses
from rnnt.loss import smoothed_loss
from rnnt.loss.native import simple

CASES = {
    "ragged": {},
    "no text in one": {"symbols": (5, 0, 2)},
    "no text at all": {"S": 0, "symbols": (0, 0, 0)},
    "one frame": {"T": 1, "S": 2, "frames": (1, 1, 1), "symbols": (2, 1, 0)},
    "no frames in one": {"frames": (7, 0, 5)},
    "more symbols than frames": {"S": 9, "frames": (7, 4, 5), "symbols": (4, 9, 5)},
}


def run(batch, backend="native", rnnt_type="regular", weights=(1.0, -0.5, 2.0), **more):
    options = {"blank_id": 4, "lm_only_scale": 0.25, "am_only_scale": 0.1, "delay_penalty": 0.05, **more}
    loss_B, px_grad, py_grad = smoothed_loss(*batch.simple, rnnt_type=rnnt_type, backend=backend, **options)
    am_grad, lm_grad = batch.gradients((loss_B * torch.tensor(weights)).sum())
    return loss_B, px_grad, py_grad, am_grad, lm_grad


@pytest.fixture(params=[1, 2, 8])
def tile_utterances(request, monkeypatch):
    """How many utterances a tile has: one on a CPU, several on a GPU."""
    monkeypatch.setattr(simple, "UTTERANCES_CPU", request.param)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scales", [(0.0, 0.0), (0.25, 0.0), (0.1, 0.15)])
def test_equals_reference(make_batch, case, scales, rnnt_type, tile_utterances, assert_close):
    batch = make_batch(**CASES[case])
    options = {"rnnt_type": rnnt_type, "lm_only_scale": scales[0], "am_only_scale": scales[1]}
    for native, reference in zip(run(batch, **options), run(batch, "reference", **options)):
        assert torch.isfinite(native).all()
        assert_close(native, reference, 1e-9)


def test_gradcheck(make_batch, rnnt_type):
    batch = make_batch(S=3, T=4, V=5, frames=(4, 3), symbols=(3, 1))

    def loss(am_BTV, lm_BUV):
        args = (am_BTV, lm_BUV, batch.symbols_BS, *batch.lengths)
        return smoothed_loss(*args, blank_id=1, lm_only_scale=0.2, am_only_scale=0.1, rnnt_type=rnnt_type)[0]

    assert torch.autograd.gradcheck(loss, (batch.am_BTV, batch.lm_BUV))


def test_equals_what_k2_computed(k2_case, backend, assert_close):
    """Loss, gradients and occupations of the cases that a real k2 computed, where training's function takes them."""
    meta, (x_len_B, y_len_B) = k2_case["meta"], k2_case["boundary"][:, [3, 2]].unbind(1)
    assert (k2_case["boundary"][:, :2] == 0).all()
    am, lm = k2_case["am"].requires_grad_(), k2_case["lm"].requires_grad_()
    options = {name: meta[name] for name in ("lm_only_scale", "am_only_scale", "rnnt_type", "delay_penalty")}
    loss_B, px_grad, py_grad = smoothed_loss(
        am, lm, k2_case["symbols"], x_len_B, y_len_B, blank_id=meta["termination_symbol"], backend=backend, **options
    )
    am_grad, lm_grad = torch.autograd.grad(loss_B.sum(), (am, lm))
    assert_close(loss_B, k2_case["smoothed_loss"], 1e-5)
    assert_close(px_grad, k2_case["px_grad"], 1e-4)
    assert_close(py_grad, k2_case["py_grad"], 1e-4)
    assert_close(am_grad, k2_case["smoothed_am_grad"], 1e-4)
    assert_close(lm_grad, k2_case["smoothed_lm_grad"], 1e-4)


def test_the_k2_interface_swaps_arguments_and_sums(make_batch, rnnt_type, assert_close):
    """k2's names by the native loss against training's name by the reference."""
    batch = make_batch()
    zero_B = torch.zeros(3, dtype=torch.int64)
    boundary = torch.stack((zero_B, zero_B, batch.y_len_B, batch.x_len_B), 1)
    loss_B, *reference = run(batch, "reference", rnnt_type, weights=(1.0, 1.0, 1.0))
    loss, occupations = losses.rnnt_loss_smoothed(
        batch.lm_BUV, batch.am_BTV, batch.symbols_BS, 4, 0.25, 0.1, boundary, rnnt_type, 0.05, "sum", True
    )
    assert_close(loss, loss_B.sum(), 1e-9)
    for found, expected in zip((*occupations, *batch.gradients(loss)), reference):
        assert_close(found, expected, 1e-9)


def test_a_shift_of_the_logits_of_a_frame_changes_nothing(make_batch, assert_close):
    """Each frame is normalised; in float32, with a shift that would overflow exponentials taken as they are."""
    batch = make_batch(dtype=torch.float32)
    before = run(batch, am_only_scale=0.0)
    batch.am_BTV = (batch.am_BTV + 300 * torch.randn(3, 7, 1)).detach().requires_grad_()
    after = run(batch, am_only_scale=0.0)
    for x, y in zip(before, after):
        assert_close(y, x, 2e-4)


def test_an_utterance_without_a_path_is_zero_and_the_others_unchanged(make_batch, assert_close):
    batch = make_batch(frames=(7, 2, 5))
    loss_B, px_grad, py_grad, am_grad, lm_grad = run(batch, rnnt_type="modified")
    for x in (loss_B, px_grad, py_grad, am_grad):
        assert (x[1] == 0).all() and x[0].abs().sum() > 0
    for x in run(batch, rnnt_type="modified", weights=(1.0, torch.inf, 2.0))[3:]:
        assert torch.isfinite(x).all()


def test_padding_has_no_gradient_and_no_influence(make_batch, rnnt_type, tile_utterances):
    """Without am smoothing, whose unigram k2 defines over all states, padding included."""
    batch = make_batch()
    before = run(batch, rnnt_type=rnnt_type, am_only_scale=0.0)
    am_BTV, lm_BUV = batch.am_BTV.detach().clone(), batch.lm_BUV.detach().clone()
    for b in range(3):
        am_BTV[b, batch.x_len_B[b] :] = 1e4
        lm_BUV[b, batch.y_len_B[b] + 1 :] = -1e4
        batch.symbols_BS[b, batch.y_len_B[b] :] = -1
    batch.am_BTV, batch.lm_BUV = am_BTV.requires_grad_(), lm_BUV.requires_grad_()
    after = run(batch, rnnt_type=rnnt_type, am_only_scale=0.0)
    assert all(torch.equal(x, y) for x, y in zip(before, after))
    assert all((after[3][b, batch.x_len_B[b] :] == 0).all() for b in range(3))


def test_bfloat16_inputs_have_float32_sums(make_batch, assert_close):
    batch = make_batch(dtype=torch.bfloat16)
    loss_B, px_grad, _, am_grad, lm_grad = run(batch)
    batch.am_BTV, batch.lm_BUV = (x.detach().float().requires_grad_() for x in (batch.am_BTV, batch.lm_BUV))
    exact = run(batch)
    assert loss_B.dtype == px_grad.dtype == torch.float32 and am_grad.dtype == torch.bfloat16
    assert torch.equal(loss_B, exact[0])
    assert_close(am_grad.float(), exact[3], 1e-2)
    assert_close(lm_grad.float(), exact[4], 1e-2)


def test_repeats_bit_for_bit(make_batch):
    batch = make_batch(dtype=torch.float32)
    assert all(torch.equal(x, y) for x, y in zip(run(batch), run(batch)))
