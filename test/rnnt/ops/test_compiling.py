"""Code that calls the losses may be compiled: torch.compile runs them between its graphs, with the same results."""

import pytest
import torch
from torch import nn

import rnnt.loss as losses
from rnnt.ops.compiling import is_compiling

B, T, S, V, D = 2, 9, 4, 11, 6
X_LEN_B, Y_LEN_B = torch.tensor([9, 7]), torch.tensor([4, 2])
BOUNDARY = torch.tensor([[0, 0, 4, 9], [0, 0, 2, 7]])
needs_compiler = pytest.mark.skipif(
    not hasattr(torch, "compiler") or not hasattr(torch, "_disable_dynamo"), reason="torch before 2.1"
)


class Toy(nn.Module):
    """Projections and both losses, as the trainer calls them or by k2's names."""

    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(0)
        self.am, self.lm, self.output = nn.Linear(D, V), nn.Linear(D, V), nn.Linear(D, V)
        self.loss = loss

    def forward(self, enc_BTD, pred_BUD, symbols_BS):
        am = losses.projection(torch.tanh(enc_BTD), self.am.weight, self.am.bias)
        return self.loss(self, am, self.lm(pred_BUD), enc_BTD, pred_BUD, symbols_BS)


def by_training_names(model, am, lm, enc, pred, symbols):
    simple_B, *grads = losses.smoothed_loss(
        am, lm, symbols, X_LEN_B, Y_LEN_B, blank_id=0, lm_only_scale=0.1, am_only_scale=0.1
    )
    ranges = losses.prune_ranges(*grads, X_LEN_B, Y_LEN_B, 3, "regular")
    output = model.output.weight, model.output.bias
    pruned_B, _ = losses.pruned_joiner_loss(enc, pred, *output, symbols, ranges, X_LEN_B, Y_LEN_B, blank_id=0)
    full_B, _ = losses.full_joiner_loss(enc, pred, *output, symbols, X_LEN_B, Y_LEN_B, blank_id=0)
    return (simple_B + pruned_B + full_B).sum() * 0.5


def by_k2s_names(model, am, lm, enc, pred, symbols):
    simple, grads = losses.rnnt_loss_smoothed(lm, am, symbols, 0, boundary=BOUNDARY, reduction="sum", return_grad=True)
    ranges = losses.get_rnnt_prune_ranges(*grads, BOUNDARY, 3)
    logits = model.output(torch.tanh(sum(losses.do_rnnt_pruning(enc, pred, ranges))))
    return simple + losses.rnnt_loss_pruned(logits, symbols, ranges, 0, BOUNDARY, reduction="sum")


def by_the_formulas(model, am, lm, enc, pred, symbols):
    px, py = losses.get_rnnt_logprobs_smoothed(lm, am, symbols, 0, boundary=BOUNDARY)
    score_B, grads = losses.mutual_information_recursion(px, py, BOUNDARY, return_grad=True)
    ranges = losses.get_rnnt_prune_ranges(*grads, BOUNDARY, 3)
    logits = model.output(torch.tanh(sum(losses.do_rnnt_pruning(enc, pred, ranges))))
    px, py = losses.get_rnnt_logprobs_pruned(logits, symbols, ranges, 0, BOUNDARY)
    return -(score_B + losses.mutual_information_recursion(px, py, BOUNDARY)).sum()


@needs_compiler
@pytest.mark.parametrize("loss", [by_training_names, by_k2s_names, by_the_formulas])
def test_compiled_code_gives_the_same_losses_and_gradients(loss):
    torch.manual_seed(1)
    inputs = [torch.randn(B, n, D, requires_grad=True) for n in (T, S + 1)]
    symbols_BS = torch.randint(1, V, (B, S))
    model = Toy(loss)
    results = []
    # aot_eager: traced and differentiated as always, but run by torch's own kernels, so that no C++ compiler is needed.
    torch._dynamo.reset()
    for run in (model, torch.compile(model, backend="aot_eager")):
        value = run(*inputs, symbols_BS)
        results.append([value, *torch.autograd.grad(value, [*inputs, *model.parameters()], allow_unused=True)])
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_the_compiler_gets_plain_products():
    x, weight = torch.randn(3, D), torch.randn(V, D)
    graphs = []

    def keep(graph, _):
        graphs.append(str(graph.graph))
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(losses.projection, backend=keep, fullgraph=True)
    torch.testing.assert_close(compiled(x, weight), x @ weight.t())
    assert "linear" in graphs[0] and "mkldnn" not in graphs[0]
    assert not is_compiling()
