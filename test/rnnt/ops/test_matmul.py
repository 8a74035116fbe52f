import pytest
import torch

from rnnt.ops.matmul import add_product_, projection


@pytest.mark.parametrize("shape", [(3, 5, 6), (7, 6), (6,), (0, 4, 6)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_projection_is_linear(shape, bias, dtype):
    x, weight = torch.randn(shape, dtype=dtype).requires_grad_(), torch.randn(4, 6, dtype=dtype).requires_grad_()
    leaves = [x, weight] + ([torch.randn(4, dtype=dtype).requires_grad_()] if bias else [])
    found, wanted = (f(*leaves) for f in (projection, torch.nn.functional.linear))
    torch.testing.assert_close(found, wanted)
    g = torch.randn_like(wanted)
    for a, b in zip(torch.autograd.grad(found, leaves, g), torch.autograd.grad(wanted, leaves, g)):
        torch.testing.assert_close(a, b)


def test_projection_of_a_transposed_input_and_under_autocast():
    x, weight = torch.randn(6, 5).t().requires_grad_(), torch.randn(4, 6)
    torch.testing.assert_close(projection(x, weight), x @ weight.t())
    with torch.autocast("cpu", torch.bfloat16):
        assert projection(x, weight).dtype == torch.bfloat16


@pytest.mark.parametrize("wide,narrow", [(torch.float32, torch.float32), (torch.float32, torch.bfloat16)])
def test_add_product(wide, narrow):
    to, x, y = torch.randn(3, 4, dtype=wide), torch.randn(7, 3).to(narrow), torch.randn(7, 4).to(narrow)
    wanted = to + (x.t() @ y).to(wide)
    add_product_(to, x, y)
    torch.testing.assert_close(to, wanted)
