"""Linear layers with weights laid out for oneDNN, for many small products with the same weights on a CPU."""

import copy

from torch import nn

from rnnt.loss.products import can_pack, linear, packed


class PackedLinear(nn.Module):
    """The same function as a `nn.Linear`, without gradients. `rows` is the usual number of rows of the input."""

    def __init__(self, layer, rows):
        super().__init__()
        self._weight = packed(layer.weight, rows)
        self._bias = layer.bias

    def forward(self, x):
        """(..., in) -> (..., out)."""
        return linear(x, self._weight, self._bias)


def with_packed_weights(module, rows):
    """A copy of `module` whose `nn.Linear` children are packed where that works; other parameters are shared."""
    changed = copy.copy(module)
    changed._modules = {
        name: PackedLinear(child, rows) if isinstance(child, nn.Linear) and can_pack(child.weight) else child
        for name, child in module._modules.items()
    }
    return changed
