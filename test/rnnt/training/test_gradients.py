"""Gradients of several ranks add up, whatever the buckets."""

import pytest
import torch

from rnnt.training import gradients
from rnnt.training.gradients import sum_over_ranks


class Doubled:
    """A world of two ranks that hold the same gradients."""

    size = 2

    def start_all_reduce(self, tensor):
        tensor.mul_(2)
        return self

    def wait(self):
        pass


@pytest.mark.parametrize("bucket", [1, 7, 1000])
def test_every_gradient_is_summed_in_place(monkeypatch, bucket):
    monkeypatch.setattr(gradients, "BUCKET", bucket)
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(5)), torch.nn.Parameter(
        torch.zeros(4, dtype=torch.float64))]  # fmt: skip
    frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    for p in parameters[:1] + parameters[2:]:
        p.grad = torch.arange(p.numel(), dtype=p.dtype).view_as(p)
    sum_over_ranks([*parameters, frozen], Doubled())
    for p in (parameters[0], parameters[2]):
        assert torch.equal(p.grad, 2 * torch.arange(p.numel(), dtype=p.dtype).view_as(p))
    assert torch.equal(parameters[1].grad, torch.zeros(5)) and frozen.grad is None
