"""Gradients of all ranks are added up while the backward pass runs, whatever the ranks do meanwhile."""

import os

import pytest
import torch
import torch.distributed as dist

from rnnt.distributed.world import World
from rnnt.training import exchange
from rnnt.training.exchange import GradientExchange


class Sent:
    """What one rank sends in a world of two that hold the same gradients; nothing arrives before `wait`."""

    size = 2

    def __init__(self):
        self.tensors = []

    def start_all_reduce(self, tensor):
        self.tensors.append(tensor.clone())

        class Work:
            def wait(self):
                tensor.mul_(2)

        return Work()


def layers(number=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(number)])


@pytest.mark.parametrize("bucket", [1, 7, 1000])
def test_every_gradient_is_summed_in_place(monkeypatch, bucket):
    monkeypatch.setattr(exchange, "BUCKET", bucket)
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(5)), torch.nn.Parameter(
        torch.zeros(4, dtype=torch.float64))]  # fmt: skip
    frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
    both = GradientExchange([*parameters, frozen], Sent())
    for _ in range(2):
        for p in parameters[:1] + parameters[2:]:
            p.grad = torch.arange(p.numel(), dtype=p.dtype).view_as(p)
        parameters[1].grad = None
        both.finish()
        for p in (parameters[0], parameters[2]):
            assert torch.equal(p.grad, 2 * torch.arange(p.numel(), dtype=p.dtype).view_as(p))
        assert torch.equal(parameters[1].grad, torch.zeros(5)) and frozen.grad is None


def test_complete_gradients_are_sent_before_the_backward_pass_ends(monkeypatch):
    monkeypatch.setattr(exchange, "BUCKET", 20)  # a layer
    model, world = layers(), Sent()
    both = GradientExchange(model.parameters(), world)
    sent = {}
    model[1].weight.register_post_accumulate_grad_hook(lambda _: sent.update(middle=len(world.tensors)))
    model(torch.ones(2, 4)).sum().backward()
    assert world.tensors == [], "the last backward pass has not been announced"
    both.overlap()
    model(torch.ones(2, 4)).sum().backward()
    assert sent["middle"] >= 1 and len(world.tensors) == 3
    grads = [p.grad.clone() for p in model.parameters()]
    both.finish()
    assert all(torch.equal(p.grad, 2 * grad) for p, grad in zip(model.parameters(), grads))


def test_a_layer_without_gradient_does_not_change_the_order(monkeypatch):
    monkeypatch.setattr(exchange, "BUCKET", 20)
    model, world = layers(), Sent()
    both = GradientExchange(model.parameters(), world)
    both.overlap()
    model[0](torch.ones(2, 4)).sum().backward()
    assert world.tensors == []
    both.finish()
    assert [bool(t.any()) for t in world.tensors] == [False, False, True]


def test_what_was_sent_stays_when_memory_runs_out(monkeypatch):
    monkeypatch.setattr(exchange, "BUCKET", 20)
    model, world = layers(), Sent()
    both = GradientExchange(model.parameters(), world)

    def run_out(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model[0].weight.register_hook(run_out)
    both.overlap()
    with pytest.raises(torch.OutOfMemoryError):
        model(torch.ones(2, 4)).sum().backward()
    assert len(world.tensors) == 2
    first = [p.grad.clone() for p in model[1:].parameters()]
    handle.remove()
    both.wait_for_finish()
    model.zero_grad(set_to_none=True)
    (3 * model(torch.ones(1, 4)).sum()).backward()
    assert len(world.tensors) == 2
    both.overlap()
    (3 * model(torch.ones(1, 4)).sum()).backward()
    assert len(world.tensors) == 3
    again = [p.grad.clone() for p in model[0].parameters()]
    both.finish()
    for p, grad in zip(model.parameters(), again + first):
        assert torch.equal(p.grad, 2 * grad)


def _rank(rank, port, half, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    exchange.BUCKET = 30
    model = layers(5)
    both = GradientExchange(model.parameters(), World(rank, 2, torch.device("cpu"), ()), half)
    for step in range(3):
        model.zero_grad(set_to_none=True)
        batches = 1 + rank if step < 2 else rank  # in the last update rank 0 has none
        for number in range(1, batches + 1):
            if number == batches:
                both.overlap()
            model(torch.full((2, 4), 1.0 + rank + number)).tanh().sum().backward()
        both.finish()
        results.put((rank, step, [p.grad.tolist() for p in model.parameters()]))
    dist.destroy_process_group()


@pytest.mark.parametrize("half", [False, True])
def test_two_ranks_get_the_sum_of_both(half):
    from rnnt.distributed.launch import free_port

    context = torch.multiprocessing.get_context("fork")
    results = context.Queue()
    port = free_port()
    ranks = [context.Process(target=_rank, args=(rank, port, half, results)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    found = [results.get(timeout=60) for _ in range(6)]
    for rank in ranks:
        rank.join(60)
        assert rank.exitcode == 0
    model = layers(5)
    for step in range(3):
        model.zero_grad(set_to_none=True)
        for rank in range(2):
            for number in range(1, (1 + rank if step < 2 else rank) + 1):
                model(torch.full((2, 4), 1.0 + rank + number)).tanh().sum().backward()
        for _, _, grads in [entry for entry in found if entry[1] == step]:
            for p, grad in zip(model.parameters(), grads):
                bounds = {"rtol": 2e-2, "atol": 2e-2} if half else {"rtol": 1e-6, "atol": 1e-7}
                torch.testing.assert_close(torch.tensor(grad), p.grad, **bounds)
