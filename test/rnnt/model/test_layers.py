"""Layers that several parts of the model share."""

import torch

from rnnt.model.layers import Linear, TimeSharedDropout


def test_linear_is_torchs_with_its_gradients():
    torch.manual_seed(0)
    ours, theirs = Linear(5, 3), torch.nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 6, 5, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    torch.testing.assert_close(ours(x), theirs(y))
    ours(x).square().sum().backward(), theirs(y).square().sum().backward()
    for one, other in ((x.grad, y.grad), (ours.weight.grad, theirs.weight.grad), (ours.bias.grad, theirs.bias.grad)):
        torch.testing.assert_close(one, other)


def test_dropout_drops_whole_channels_and_keeps_the_mean():
    torch.manual_seed(0)
    dropout = TimeSharedDropout(0.25)
    out = dropout(torch.ones(50, 7, 40))
    assert (out == out[:, :1]).all() and set(out.unique().tolist()) == {0.0, out.max().item()}
    assert abs(out.mean().item() - 1) < 0.05 and abs((out == 0).float().mean().item() - 0.25) < 0.05
    assert (dropout.eval()(torch.ones(2, 3, 4)) == 1).all()
