"""Batch normalisation over valid frames, over micro-batches and over ranks."""

import torch

from rnnt.model.batchnorm import MaskedBatchNorm, _Normalise, commit_statistics, discard_pending_statistics
from rnnt.model.masking import valid_mask


def batch(lengths, frames, seed=0):
    x_BCTF = torch.randn(len(lengths), 3, frames, 5, generator=torch.Generator().manual_seed(seed)) * 2 + 1
    return x_BCTF, valid_mask(torch.tensor(lengths), frames)


def test_equals_torch_without_padding():
    x, mask = batch([7, 7], 7)
    ours, theirs = MaskedBatchNorm(3), torch.nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x, mask), theirs(x))
    ours.eval(), theirs.eval()
    ours.running_mean.copy_(theirs.running_mean), ours.running_var.copy_(theirs.running_var)
    torch.testing.assert_close(ours(x, mask), theirs(x))


def test_padding_changes_nothing_and_comes_out_zero():
    x, mask = batch([4, 7], 7)
    wide = torch.nn.functional.pad(x, (0, 0, 0, 9), value=1e6)
    norm = MaskedBatchNorm(3)
    narrow_out = norm(x, mask)
    wide_out = norm(wide, valid_mask(torch.tensor([4, 7]), 16))
    torch.testing.assert_close(wide_out[:, :, :7], narrow_out)
    assert not wide_out[:, :, 7:].any() and not narrow_out[0, :, 4:].any()


def test_gradient_ignores_padding():
    x, mask = batch([3, 6], 6)
    x.requires_grad_()
    norm = MaskedBatchNorm(3)
    (norm(x, mask) * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    assert not x.grad[0, :, 3:].any() and x.grad[0, :, :3].any()


def test_gradients_are_those_of_finite_differences():
    """In double precision, by torch's own check; padding is random and must not matter."""
    x, mask = batch([3, 5], 5)
    x = x[:, :, :, :2].double().requires_grad_()
    norm = MaskedBatchNorm(3).double()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    frames = mask[:, None, :, None].double()

    def function(x, weight, bias):
        out = _Normalise.apply(x, frames, weight, bias, norm.eps)[0]
        return (out * weights).sum() + (out**3).sum()

    scale = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64, requires_grad=True)
    shift = torch.tensor([0.1, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, scale, shift))


def test_running_statistics_are_those_of_all_valid_frames():
    """Two micro-batches, committed once with momentum 1, give mean and variance over all their frames."""
    norm = MaskedBatchNorm(3)
    frames = []
    for seed, lengths in enumerate([[4, 7], [2]]):
        x, mask = batch(lengths, max(lengths), seed)
        norm(x, mask)
        frames += [x[i, :, :n].reshape(3, -1) for i, n in enumerate(lengths)]
    commit_statistics(norm, momentum=1.0)
    everything = torch.cat(frames, dim=1)
    torch.testing.assert_close(norm.running_mean, everything.mean(1))
    torch.testing.assert_close(norm.running_var, everything.var(1, unbiased=False))
    assert not norm.pending.any()


def test_ranks_add_up_to_accumulation():
    whole, ranks = MaskedBatchNorm(3), [MaskedBatchNorm(3), MaskedBatchNorm(3)]
    for rank, norm in enumerate(ranks):
        x, mask = batch([5, 3], 5, rank)
        norm(x, mask), whole(x, mask)
    total = ranks[0].pending + ranks[1].pending
    commit_statistics(ranks[0], all_reduce=lambda t: t.copy_(total))
    commit_statistics(whole)
    assert torch.equal(ranks[0].running_mean, whole.running_mean)
    assert torch.equal(ranks[0].running_var, whole.running_var)


def test_skipped_micro_batches_leave_no_trace():
    norm = MaskedBatchNorm(3)
    x, mask = batch([5], 5)
    norm(x, mask)
    assert norm.pending.any()
    discard_pending_statistics(norm)
    commit_statistics(norm)
    assert not norm.running_mean.any()
