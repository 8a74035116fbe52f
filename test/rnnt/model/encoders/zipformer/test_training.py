"""The encoder in training: icefall's losses over twelve updates, its random choices, and resuming."""

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.model.encoders.zipformer.encoder import Zipformer
from rnnt.model.encoders.zipformer.layer import ZipformerLayer
from rnnt.model.encoders.zipformer.stack import Stack
from rnnt.model.encoders.zipformer.weights import gated_sums_of_first_head, shared_weights, sums_of_heads
from rnnt.model.regularisers import chance
from rnnt.model.regularisers.dropout import ScheduledDropout
from rnnt.model.regularisers.schedule import set_progress
from rnnt.train import main


class ScaledAdam:
    """icefall's optimizer, tensor by tensor, for up to 20 updates at a constant learning rate."""

    def __init__(self, parameters, lr, clipping_scale):
        self.parameters, self.lr, self.clipping_scale = list(parameters), lr, clipping_scale
        self.t, self.norms, self.threshold = 0, [], None
        self.states = [
            {"v": torch.zeros_like(p), "m": torch.zeros_like(p), "sg": [], "w": 0.0, "rms": p.square().mean().sqrt()}
            for p in self.parameters
        ]

    @torch.no_grad()
    def step(self):
        t = self.t
        factor = 1.0
        if t > 0:
            pairs = zip(self.parameters, self.states)
            squares = [((s["rms"] if p.numel() > 1 else 0.1) * p.grad).square().sum() for p, s in pairs]
            norm = torch.stack(squares).sum().sqrt().item()
            self.norms.append(norm)
            if t == 10:
                self.threshold = 2 * self.clipping_scale * sorted(self.norms)[4]
            if self.threshold is not None:
                factor = min(1.0, self.threshold / (norm + 1e-20))
        for p, s in zip(self.parameters, self.states):
            g = p.grad * factor
            s["v"].mul_(0.98).addcmul_(g, g, value=0.02)
            d = -self.lr * g / ((s["v"] / (1 - 0.98 ** (t + 1))).sqrt() + 1e-8)
            if p.numel() == 1:
                d *= 0.1
            else:
                s["sg"].append((p * g).sum())
                if t % 4 == 3:
                    s["rms"] = p.square().mean().sqrt()
                d *= s["rms"].clamp(min=1e-5)
                if t % 4 == 3:
                    beta = 0.98**4
                    sg = torch.stack(s["sg"])
                    s["w"] = beta * s["w"] + (1 - beta) * sg.square().mean()
                    scale = -self.lr * 0.1 * (1 - beta ** ((t + 1) // 4)) ** 0.5 * sg.sum() / (s["w"].sqrt() + 1e-8)
                    scale = 0.0 if s["rms"] < 1e-5 else min(scale.clamp(-0.1, 0.1), (3 - s["rms"]) / s["rms"])
                    d += p * scale
                    s["sg"] = []
            s["m"].mul_(0.9).add_(d, alpha=0.1)
            p.add_(s["m"])
            if p.numel() == 1:
                p.clamp_(-10, 10)
        self.t += 1


def test_twelve_updates(vectors, reference_model, assert_same_probes, monkeypatch):
    """With all that is by chance turned off, against icefall's own classes and optimizer."""
    monkeypatch.setattr(chance, "happens", lambda probability: probability >= 1)
    monkeypatch.setattr(chance, "kept", lambda shape, drop, like: like.new_ones(shape))
    model = reference_model("offline").train()
    set_progress(model, 20000.0)
    for module in model.modules():
        if isinstance(module, ScheduledDropout):
            module.rate = 0.0
        if isinstance(module, Stack):
            module.distance_dropout = 0.0
    used = {name: p for name, p in model.named.items() if not name.endswith((".0.bypass_scale", ".1.bypass_scale"))}
    optimizer = ScaledAdam(used.values(), lr=0.03, clipping_scale=2.0)
    found = []
    for _ in range(12):
        simple, pruned, ctc = model.losses(vectors["offline/x"], vectors["offline/x_len"])
        found.append([simple.item(), pruned.item(), ctc.item()])
        for p in used.values():
            p.grad = None
        (0.5 * simple + pruned + 0.2 * ctc).backward()
        optimizer.step()
    expected = vectors["training/losses_simple_pruned_ctc"]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-5, atol=0)
    # A constant in all keys, or for all distances, changes nothing: its gradient is rounding, which the optimizer
    # makes steps of like any other.
    noise = ("self_attn_weights.in_proj.bias", "linear_pos.weight")
    after = {name: pair for name, pair in vectors["training/after_probes"].items() if not name.endswith(noise)}
    assert_same_probes(model.named, after, 1e-3)


SMALL = {
    "num_encoder_layers": [1, 1], "downsampling_factor": [1, 2], "encoder_dim": [16, 24], "encoder_unmasked_dim": [12],
    "feedforward_dim": [32], "num_heads": [2], "cnn_module_kernel": [5], "query_head_dim": [8], "pos_dim": 16,
    "causal": True, "chunk_size": [8, -1], "left_context_frames": [16, -1],
}  # fmt: skip


def small(**changes):
    return ZipformerConfig(**{**SMALL, **changes})


def test_a_stopped_training_continues_bit_for_bit(tmp_path, toy_argv):
    """Chunks, skipped parts and balanced gradients are drawn again alike, and whitening remembers what it found."""
    sizes = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in SMALL.items()}
    argv = {"encoder": "zipformer", **sizes, "average_period": 0, "save_every_n": 5}
    main(toy_argv(tmp_path / "whole", **argv))
    main(toy_argv(tmp_path / "parts", **argv, max_updates=7))
    main(toy_argv(tmp_path / "parts", **argv))
    whole, parts = (load_checkpoint(tmp_path / name / "epoch-2.pt") for name in ("whole", "parts"))
    assert whole["position"]["step"] == 10 and whole["whitening"] == parts["whitening"]
    assert len(set(whole["whitening"].values())) == 2  # some above their limits, some not
    for part in ("model", "objectives"):
        assert all(torch.equal(parts[part][name], value) for name, value in whole[part].items())


def test_choices_of_a_training_step_are_those_of_its_seed():
    torch.manual_seed(0)
    encoder = Zipformer(small(), 20).train()
    set_progress(encoder, 100.0)
    x_BTF, x_len_B = torch.randn(4, 61, 20), torch.tensor([61, 50, 61, 40])

    def gradients(seed):
        torch.manual_seed(seed)
        encoder.zero_grad()
        encoder(x_BTF, x_len_B)[0].square().sum().backward()
        return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]

    first = gradients(1)
    assert all(torch.equal(a, b) for a, b in zip(first, gradients(1)))
    assert not all(torch.equal(a, b) for a, b in zip(first, gradients(2)))


def test_layers_begin_one_after_the_other():
    encoder = Zipformer(small(num_encoder_layers=[2, 2]), 20)
    layers = [module for module in encoder.modules() if isinstance(module, ZipformerLayer)]
    points = [layer.bypass.skip.rate.points for layer in layers]
    assert [first[0] for first, _ in points] == pytest.approx([4000 / 3, 2000, 8000 / 3, 10000 / 3])
    assert [last for _, last in points] == [
        (pytest.approx(2000), 0.035), (pytest.approx(8000 / 3), 0.035),
        (pytest.approx(10000 / 3), pytest.approx(0.035 * 2**0.5)), (pytest.approx(4000), pytest.approx(0.035 * 2**0.5)),
    ]  # fmt: skip


def test_channels_are_dropped_alike_in_all_stacks():
    torch.manual_seed(0)
    encoder = Zipformer(small(), 20).train()
    first, second = encoder._feature_masks(torch.ones(2000, 3, 16))
    assert first.shape == (2000, 1, 16) and second.shape == (2000, 1, 24)
    assert torch.equal(first[:, :, 12], second[:, :, 12]) and torch.equal(first[:, :, 15], second[:, :, 23])
    means = second.mean((0, 1))
    assert (means[:12] == 1).all() and (means[12:18] == means[12]).all() and (means[18:] == means[18]).all()
    assert means[12].item() == pytest.approx(0.875, abs=0.03) and means[18].item() == pytest.approx(0.875**2, abs=0.03)


def test_scores_beyond_their_limit_are_penalised():
    """The gradient is that of the loss with the penalty in it, by autograd on plain operations."""
    torch.manual_seed(0)
    B, H, T, C, P = 2, 2, 5, 3, 4
    q, k, p, r = (torch.randn(*s, dtype=torch.float64, requires_grad=True) * f for s, f in (
        ((B, T, H * C), 9), ((B, T, H * C), 9), ((B, T, H * P), 1), ((2 * T - 1, H * P), 1)))  # fmt: skip
    v = torch.randn(B, T, H * 6, dtype=torch.float64)
    gates = torch.randn(3, B, T, 7, dtype=torch.float64)
    hidden = torch.zeros(B, 1, 1, T, dtype=torch.float64)
    hidden[1, ..., 3:] = -1000
    shared = shared_weights(q, k, p, r, hidden, H, 25.0, 0.01)
    y = sums_of_heads(v, shared), gated_sums_of_first_head(*gates, shared, False), sums_of_heads(2 * v, shared)
    weights = [torch.randn_like(part) for part in y]
    found = torch.autograd.grad(sum((a * w).sum() for a, w in zip(y, weights)), (q, k, p, r))

    i, j = torch.arange(T)[:, None], torch.arange(T)
    distance = r.unflatten(1, (H, P))[j - i + T - 1]  # (T, T, H, P)
    qh, kh, ph = (x.unflatten(2, (H, -1)).transpose(1, 2) for x in (q, k, p))
    scores = qh @ kh.mT + torch.einsum("bhip,ijhp->bhij", ph, distance)
    assert (scores.abs() > 25).any()
    W = (scores + hidden).softmax(-1)
    plain = (W @ v.unflatten(2, (H, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)
    s, u, g = gates
    expected = plain, g * (W[:, 0] @ (u * s.tanh())), 2 * plain
    for a, b in zip(y, expected):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    loss = sum((a * w).sum() for a, w in zip(expected, weights)) + 0.01 * (scores.abs() - 25).relu().sum()
    for a, b in zip(found, torch.autograd.grad(loss, (q, k, p, r))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
