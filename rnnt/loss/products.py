"""Matrix products of the tiles. On a CPU in float32 they go to oneDNN, of which torch's own `mm` makes no use there.

On processors with AVX-512 that are not Intel's, oneDNN is 2 to 2.5 times as fast as the library behind `mm`; elsewhere
they are alike. Which one is taken depends on the build of torch alone, so that results repeat bit for bit.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=1)
def _has_onednn_linear() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x weight' + bias, (M,N). All contiguous and of one type."""
    if x_MK.device.type == "cpu" and x_MK.dtype == torch.float32 and x_MK.numel() > 0 and _has_onednn_linear():
        return torch.ops.mkldnn._linear_pointwise(x_MK, weight_NK, bias_N, "none", [], "")
    return torch.nn.functional.linear(x_MK, weight_NK, bias_N)


def add_product_(to_NK: Tensor, x_MN: Tensor, y_MK: Tensor) -> None:
    """to += x' y, where `to` may be of a wider type."""
    if x_MN.device.type == "cpu" and x_MN.dtype == torch.float32:
        to_NK += linear(x_MN.t().contiguous(), y_MK.t().contiguous())
    elif to_NK.dtype == x_MN.dtype:
        to_NK.addmm_(x_MN.t(), y_MK)
    else:
        to_NK += x_MN.t() @ y_MK
