"""Time and memory of the zipformer encoder, beside icefall's own classes with the same weights on the same batch.

    python benchmarks/zipformer.py --icefall ~/icefall --size s
    python benchmarks/zipformer.py --size m --device cuda --precision bf16 --utterances 60 --compile

The two take turns; the fastest of several calls counts. Training passes have all dropout, skipping, balancing and
whitening of --batch-count. icefall's k2 is replaced by the same activations in torch.
Memory is the peak beyond what was held before the call: on a CPU the process's, on a GPU that of torch's tensors.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from search import StandIn  # of this folder
from torch import Tensor, nn

from rnnt.config_files import read_config
from rnnt.model.encoders.zipformer.config import PER_STACK, ZipformerConfig
from rnnt.model.encoders.zipformer.encoder import Zipformer
from rnnt.model.regularisers.schedule import set_progress
from rnnt.model.regularisers.whiten import commit_whitening
from rnnt.options import make
from rnnt.training.memory_scan import PeakMemory

FEATURES = 80
CONFIGURATIONS = Path(__file__).parents[1] / "egs" / "librispeech" / "ASR" / "conf"
SIZES = ("s", "m", "l")


def read_size(name: str) -> ZipformerConfig:
    """The encoder of zipformer-<name>.yaml."""
    known = {f.name for f in fields(ZipformerConfig)}
    values = read_config(CONFIGURATIONS / f"zipformer-{name}.yaml")
    return make(ZipformerConfig, **{key: value for key, value in values.items() if key in known})


class Swoosh(torch.autograd.Function):
    """k2's activation, which keeps the derivative in 8 bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: float, constant: float) -> Tensor:
        ctx.save_for_backward((torch.sigmoid(x - offset) * 255.0).to(torch.uint8))
        return swoosh(x, offset, constant)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (code,) = ctx.saved_tensors
        return grad * (code * (1 / 255.0) - 0.08), None, None


def swoosh(x: Tensor, offset: float, constant: float) -> Tensor:
    """The activation."""
    return nn.functional.softplus(x - offset) - 0.08 * x - constant


def load_icefall(folder: str, device: str) -> SimpleNamespace:
    """The modules zipformer and subsampling of icefall's recipe."""
    k2 = sys.modules["k2"] = StandIn("k2")
    for letter, numbers in (("l", (4.0, 0.035)), ("r", (1.0, 0.313261687))):
        vars(k2)[f"swoosh_{letter}"] = lambda x, n=numbers: Swoosh.apply(x, *n)
        vars(k2)[f"swoosh_{letter}_forward"] = lambda x, n=numbers: swoosh(x, *n)
        both = lambda x, n=numbers: (swoosh(x, *n), torch.sigmoid(x - n[0]) - 0.08)  # noqa: E731
        vars(k2)[f"swoosh_{letter}_forward_and_deriv"] = both
    sys.modules["icefall"], utils = StandIn("icefall"), StandIn("icefall.utils")
    sys.modules["icefall.utils"] = utils

    def torch_autocast(enabled: bool = True, **keywords: Any) -> Any:
        return torch.autocast(device, enabled=enabled, **keywords)

    vars(utils)["torch_autocast"] = torch_autocast
    recipe = Path(folder) / "egs/librispeech/ASR"
    sys.path[:0] = [str(recipe / "zipformer"), str(recipe / "transducer_stateless")]
    return SimpleNamespace(**{name: importlib.import_module(name) for name in ("zipformer", "subsampling")})


class IcefallEncoder(nn.Module):
    """icefall's encoder with the weights of ours, and the same interface."""

    def __init__(self, icefall: SimpleNamespace, ours: Zipformer, batch_count: float) -> None:
        super().__init__()
        config, stacks = ours.config, ours.sizes
        sizes = {name: tuple(getattr(stack, name) for stack in stacks) for name in PER_STACK}
        self.encoder_embed = icefall.subsampling.Conv2dSubsampling(FEATURES, stacks[0].encoder_dim)
        self.encoder = icefall.zipformer.Zipformer2(
            **sizes, pos_dim=config.pos_dim, causal=config.causal,
            chunk_size=tuple(config.chunk_size), left_context_frames=tuple(config.left_context_frames),
        )  # fmt: skip
        state = ours.state_dict()
        rename = {n: f"encoder_embed.{n.removeprefix('embed.')}" if n.startswith("embed.") else f"encoder.{n}"
                  for n in state}  # fmt: skip
        self.load_state_dict({rename[name]: value for name, value in state.items()})
        for module in self.modules():
            if hasattr(module, "batch_count"):
                module.batch_count = batch_count

    def forward(self, x_BTF: Tensor, x_len_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `Zipformer`."""
        x_BTD, len_B = self.encoder_embed(x_BTF, x_len_B)
        hidden_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) >= len_B[:, None]
        h_TBD, h_len_B = self.encoder(x_BTD.transpose(0, 1), len_B, hidden_BT)
        return h_TBD.transpose(0, 1), h_len_B


def measure(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds and bytes of one call."""
    before = torch.cuda.memory_allocated() if device.type == "cuda" else resident_bytes()
    with PeakMemory(device) as peak:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return seconds, peak.bytes - before


def resident_bytes() -> int:
    """What this process holds in main memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="s", help="that of conf/zipformer-<size>.yaml")
    parser.add_argument("--utterances", type=int, default=4, help="in the batch")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each utterance; every second one is shorter")
    parser.add_argument("--batch-count", type=float, default=20000.0, help="how far training is, for the schedules")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls; the fastest counts")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="our encoder with torch.compile as well")
    parser.add_argument("--icefall", metavar="DIR", help="a checkout of icefall to compare with")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    ours = Zipformer(read_size(args.size), FEATURES)
    encoders: dict[str, Any] = {"ours": ours}
    if args.compile:
        encoders["ours, compiled"] = torch.compile(ours)
    if args.icefall:
        encoders["icefall"] = IcefallEncoder(load_icefall(args.icefall, args.device), ours, args.batch_count)
    for encoder in encoders.values():
        encoder.to(device)
    set_progress(ours, args.batch_count)
    frames = round(100 * args.seconds)
    x_BTF = 2 * torch.randn(args.utterances, frames, FEATURES, device=device) - 3
    x_len_B = torch.tensor([frames - i % 2 * frames // 10 for i in range(args.utterances)], device=device)
    autocast = torch.autocast(args.device, torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()
    weight = torch.randn(ours.dim, device=device)

    def forward(encoder: nn.Module) -> Tensor:
        encoder.eval()
        with torch.no_grad(), autocast:
            return encoder(x_BTF, x_len_B)[0]

    def forward_backward(encoder: nn.Module) -> None:
        encoder.train()
        with autocast:
            h_BTD, _ = encoder(x_BTF, x_len_B)
        (h_BTD.float() * weight).sum().backward()
        encoder.zero_grad(set_to_none=True)
        commit_whitening(encoder)

    if args.icefall:
        first = slice(0, 1)  # the longest: icefall's own depends on the padding behind shorter ones
        a, b = (forward(encoders[name])[first].float() for name in ("ours", "icefall"))
        print(f"largest difference in evaluation: {(a - b).abs().max().item():.1e} of {b.abs().max().item():.1e}")
    audio = x_len_B.sum().item() / 100
    print(f"zipformer-{args.size}, {args.precision}, {audio:.0f} s of speech in {args.utterances} utterances")
    print(f"{'pass':24}{'encoder':18}{'ms':>9}{'utt/s':>9}{'h/s':>8}{'MB':>8}")
    for title, call in (("evaluation forward", forward), ("training step", forward_backward)):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in encoders}
        for number in range(args.repeats + 1):
            for name, encoder in encoders.items():
                result = measure(partial(call, encoder), device)
                if number:  # the first warms up
                    found[name].append(result)
        for name, results in found.items():
            seconds, size = min(r[0] for r in results), max(r[1] for r in results)
            rates = f"{args.utterances / seconds:>9.1f}{audio / seconds / 3600:>8.3f}"
            print(f"{title:24}{name:18}{1000 * seconds:>9.1f}{rates}{size / 1e6:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
