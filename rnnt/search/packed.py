"""Linear layers with weights laid out for oneDNN, for many small products with the same weights on a CPU.

torch multiplies single-precision matrices with MKL, which on AMD processors leaves half of the vector unit unused;
oneDNN doesn't, but wants the weights in its own order. torch's compiler uses the same two operators.
"""

import copy

import torch
from torch import nn


class PackedLinear(nn.Module):
    """The same function as a `nn.Linear`, without gradients. `rows` is the usual number of rows of the input."""

    def __init__(self, linear, rows):
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self._bias = linear.bias

    def forward(self, x):
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")


def can_pack(linear):
    """Whether `PackedLinear` works here: a CPU, single precision, and a torch that has the operators."""
    weight = linear.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def with_packed_weights(module, rows):
    """A copy of `module` whose `nn.Linear` children are packed where that works; other parameters are shared."""
    changed = copy.copy(module)
    changed._modules = {
        name: PackedLinear(child, rows) if isinstance(child, nn.Linear) and can_pack(child) else child
        for name, child in module._modules.items()
    }
    return changed
