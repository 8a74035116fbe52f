"""Measures the transducer losses: prints step times and peak memory beside k2's and beside the bare matrix products.

    python benchmarks/loss.py [--threads N] [--vocab 500 5000] [--device cpu|cuda] [--compile] [--full] [--tdt]

One step is: simple projections, smoothed loss, ranges, joiner projections, joiner, pruned loss; forward and backward.
With --compile also the same step with the formulas as they are written, all logits and torch.compile, but for the
recursion; with --full also the full-sum loss, beside torchaudio's; with --tdt the loss of tokens and durations, beside
the full-sum loss.
All variants run in turn in each round, so that a ratio compares neighbours in time; the table shows medians of times
and of ratios. Memory is what joiner and pruned loss hold at most beyond their inputs and all gradients of these.
k2 is measured where it imports (PYTHONPATH may name one that was built elsewhere).
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import threading
import time
from functools import partial

import torch
from torch import Tensor, nn

import rnnt.loss as losses

# torch 2.8 writes C++ that does not compile where it checks an index in vectors.
NO_ASSERTS = {"assert_indirect_indexing": False}
DURATIONS = (0, 1, 2, 3, 4)


class Setting:
    """Random encoder and predictor outputs, lengths between half and full, and the four projections."""

    def __init__(self, args: argparse.Namespace, vocab: int):
        torch.manual_seed(1)
        B, T, S, D = args.batch, args.frames, args.symbols, args.width
        self.vocab, self.prune_range, self.device = vocab, args.prune_range, torch.device(args.device)
        self.x_len_B = torch.randint(T // 2, T + 1, (B,))
        self.y_len_B = torch.randint(S // 2, S + 1, (B,))
        self.x_len_B[0], self.y_len_B[0] = T, S
        self.symbols_BS = torch.randint(1, vocab, (B, S)).to(self.device)
        zero_B = torch.zeros_like(self.x_len_B)
        self.boundary = torch.stack((zero_B, zero_B, self.y_len_B, self.x_len_B), 1).to(self.device)
        self.dtype = torch.bfloat16 if args.bfloat16 else torch.float32
        self.enc_BTD, self.pred_BUD = (
            torch.randn(B, n, D, device=self.device, dtype=self.dtype).requires_grad_() for n in (T, S + 1)
        )
        self.simple_am, self.simple_lm = (self._linear(D, vocab) for _ in range(2))
        self.joint_am, self.joint_lm, self.output = self._linear(D, D), self._linear(D, D), self._linear(D, vocab)
        self.duration_output = self._linear(D, len(DURATIONS))

    def _linear(self, inputs: int, outputs: int) -> nn.Linear:
        return nn.Linear(inputs, outputs).to(self.device, self.dtype)

    @property
    def leaves(self) -> list[Tensor]:
        layers = (self.simple_am, self.simple_lm, self.joint_am, self.joint_lm, self.output, self.duration_output)
        return [self.enc_BTD, self.pred_BUD, *(p for layer in layers for p in layer.parameters())]

    def clear(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None


def project(layer: nn.Linear, x: Tensor) -> Tensor:
    return losses.projection(x, layer.weight, layer.bias)


def rnnt_simple(x: Setting, backend: str):
    am, lm = project(x.simple_am, x.enc_BTD), project(x.simple_lm, x.pred_BUD)
    loss_B, px_grad, py_grad = losses.smoothed_loss(
        am, lm, x.symbols_BS, x.x_len_B, x.y_len_B, blank_id=0, lm_only_scale=0.25, am_only_scale=0.0, backend=backend
    )
    return loss_B.sum(), losses.prune_ranges(px_grad, py_grad, x.x_len_B, x.y_len_B, x.prune_range, "regular")


def rnnt_pruned(x: Setting, enc, pred, ranges, backend: str):
    args = (x.output.weight, x.output.bias, x.symbols_BS, ranges, x.x_len_B, x.y_len_B)
    return losses.pruned_joiner_loss(enc, pred, *args, blank_id=0, backend=backend)[0].sum()


def k2_simple(x: Setting, k2):
    am, lm = x.simple_am(x.enc_BTD), x.simple_lm(x.pred_BUD)
    loss, (px_grad, py_grad) = k2.rnnt_loss_smoothed(
        lm.float(), am.float(), x.symbols_BS, 0, lm_only_scale=0.25, am_only_scale=0.0, boundary=x.boundary,
        reduction="sum", return_grad=True,
    )  # fmt: skip
    return loss, k2.get_rnnt_prune_ranges(px_grad, py_grad, x.boundary, x.prune_range)


def k2_pruned(x: Setting, enc, pred, ranges, k2):
    enc, pred = k2.do_rnnt_pruning(enc, pred, ranges)
    logits = x.output(torch.tanh(enc + pred)).float()
    return k2.rnnt_loss_pruned(logits, x.symbols_BS, ranges, 0, x.boundary, reduction="sum")


def rnnt_step(x: Setting) -> None:
    """A complete training step of both losses."""
    simple_loss, ranges = rnnt_simple(x, "auto")
    enc, pred = project(x.joint_am, x.enc_BTD), project(x.joint_lm, x.pred_BUD)
    (0.5 * simple_loss + rnnt_pruned(x, enc, pred, ranges, "auto")).backward()


def k2_step(x: Setting, k2) -> None:
    """The same with k2, or whatever has its interface."""
    simple_loss, ranges = k2_simple(x, k2)
    pruned_loss = k2_pruned(x, x.joint_am(x.enc_BTD), x.joint_lm(x.pred_BUD), ranges, k2)
    (0.5 * simple_loss + pruned_loss).backward()


def formulas_step(x: Setting) -> None:
    """The same as the formulas are written: what there is for torch.compile to make faster."""
    am, lm = x.simple_am(x.enc_BTD), x.simple_lm(x.pred_BUD)
    args = (x.symbols_BS, 0, 0.25, 0.0, x.boundary)
    px, py = losses.get_rnnt_logprobs_smoothed(lm.float(), am.float(), *args)
    simple_B, grads = losses.mutual_information_recursion(px, py, x.boundary, return_grad=True)
    ranges = losses.get_rnnt_prune_ranges(*grads, x.boundary, x.prune_range)
    enc, pred = losses.do_rnnt_pruning(x.joint_am(x.enc_BTD), x.joint_lm(x.pred_BUD), ranges)
    logits = x.output(torch.tanh(enc + pred)).float()
    px, py = losses.get_rnnt_logprobs_pruned(logits, x.symbols_BS, ranges, 0, x.boundary)
    pruned_B = losses.mutual_information_recursion(px, py, x.boundary)
    (-0.5 * simple_B - pruned_B).sum().backward()


def full_step(x: Setting, backend: str) -> None:
    """A complete training step of the full-sum loss."""
    args = (x.output.weight, x.output.bias, x.symbols_BS, x.x_len_B, x.y_len_B)
    enc, pred = project(x.joint_am, x.enc_BTD), project(x.joint_lm, x.pred_BUD)
    losses.full_joiner_loss(enc, pred, *args, blank_id=0, backend=backend)[0].sum().backward()


def tdt_step(x: Setting) -> None:
    """A complete training step of the loss of tokens and durations."""
    layers = (x.output.weight, x.output.bias, x.duration_output.weight, x.duration_output.bias)
    enc, pred = project(x.joint_am, x.enc_BTD), project(x.joint_lm, x.pred_BUD)
    args = (*layers, x.symbols_BS, x.x_len_B, x.y_len_B)
    losses.tdt_joiner_loss(enc, pred, *args, durations=DURATIONS, blank_id=0, sigma=0.02)[0].sum().backward()


def torchaudio_step(x: Setting, torchaudio) -> None:
    """The same with torchaudio, which takes all logits."""
    hidden = torch.tanh(x.joint_am(x.enc_BTD)[:, :, None] + x.joint_lm(x.pred_BUD)[:, None])
    lengths = (n.int().to(x.device) for n in (x.x_len_B, x.y_len_B))
    args = (x.output(hidden).float(), x.symbols_BS.int(), *lengths)
    torchaudio.functional.rnnt_loss(*args, blank=0, clamp=-1, reduction="sum").backward()


class Floor:
    """The matrix products of one step and nothing else: forward, and for each two in the backward pass.

    Projections are of padded batches, as every implementation takes them; the rest is without padding.
    """

    def __init__(self, x: Setting, full: bool = False):
        V, D, R = x.vocab, x.enc_BTD.shape[2], x.prune_range
        frames, tokens = (n.shape[0] * n.shape[1] for n in (x.enc_BTD, x.pred_BUD))
        states_B = x.y_len_B + 1
        rows = int((x.x_len_B * states_B).sum()) if full else int(x.x_len_B.sum()) * R
        shapes = [(frames, D, D), (tokens, D, D)]
        if not full:
            shapes += [(frames, D, V), (tokens, D, V)]
            shapes += [(int(u), V, int(t)) for t, u in zip(x.x_len_B, states_B)]
        tile = 2048 if x.device.type == "cpu" else max(2048, 2**24 // V)
        shapes += [(min(tile, rows - start), D, V) for start in range(0, rows, tile)]
        self.shapes = shapes
        largest = max(max(m * k, k * n, m * n) for m, k, n in shapes)
        self.buffers = [torch.randn(largest, device=x.device).to(x.dtype) for _ in range(3)]

    def __call__(self) -> None:
        for m, k, n in self.shapes:
            a, b, c = (buffer[: i * j].view(i, j) for buffer, i, j in zip(self.buffers, (m, k, m), (k, n, n)))
            torch.mm(a, b, out=c)
            torch.mm(c, b.t(), out=a)
            torch.mm(a.t(), c, out=b)


class PeakMemory:
    """Peak memory within a block, in MB, beyond what there was: resident on the CPU (sampled), allocated on CUDA."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"

    @staticmethod
    def _resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    def __enter__(self):
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return self
        release_memory()
        self.before = self.peak = self._resident()
        self.running = True
        self.thread = threading.Thread(target=self._heartbeat)
        self.thread.start()
        return self

    def _heartbeat(self) -> None:
        while self.running:
            self.peak = max(self.peak, self._resident())
            time.sleep(0.0005)

    def __exit__(self, *_) -> None:
        if self.cuda:
            self.mb = (torch.cuda.max_memory_allocated() - self.before) / 1e6
            return
        self.running = False
        self.thread.join()
        self.mb = (self.peak - self.before) / 1e6


def release_memory() -> None:
    """Gives freed heap back, so that the resident size is what is in use."""
    import ctypes

    ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak_of_pruned(x: Setting, simple, pruned, library) -> float:
    """MB that joiner and pruned loss need beyond projected inputs and all their gradients."""
    with torch.no_grad():
        _, ranges = simple(x, library)
        enc, pred = x.joint_am(x.enc_BTD), x.joint_lm(x.pred_BUD)
    inputs = [n.requires_grad_() for n in (enc, pred)] + list(x.output.parameters())
    for n in inputs:
        n.grad = torch.zeros_like(n)
        n.grad.fill_(0)
    with PeakMemory(x.device) as memory:
        loss = pruned(x, enc, pred, ranges, library)
        grads = torch.autograd.grad(loss, inputs)
    x.clear()
    return memory.mb - sum(g.numel() * g.element_size() for g in grads) / 1e6


def make_variants(x: Setting, compiled: bool, full: bool, tdt: bool, k2, torchaudio) -> dict:
    """What is measured, by name."""
    variants = {"floor": Floor(x), "rnnt": partial(rnnt_step, x), "rnnt by k2's functions": partial(k2_step, x, losses)}
    if compiled:
        variants["formulas, compiled"] = partial(torch.compile(formulas_step, options=NO_ASSERTS), x)
    if k2:
        variants["k2"] = partial(k2_step, x, k2)
    if full or tdt:
        variants["floor of full sum"] = Floor(x, full=True)
        variants["rnnt, full sum"] = partial(full_step, x, "auto")
    if tdt:
        variants["rnnt, durations"] = partial(tdt_step, x)
    if torchaudio and hasattr(torchaudio.functional, "rnnt_loss"):
        B, T, S = len(x.enc_BTD), x.enc_BTD.shape[1], x.symbols_BS.shape[1]
        if B * T * (S + 1) * x.vocab >= 2**31:
            print("torchaudio, full sum: not measured: its kernel addresses fewer than 2^31 logits")
        else:
            variants["torchaudio, full sum"] = partial(torchaudio_step, x, torchaudio)
    return variants


def drop_failing(x: Setting, variants: dict) -> None:
    """Run each variant once, and leave out those that memory or torch.compile don't suffice for."""
    for name, run in list(variants.items()):
        try:
            run()
            if x.device.type == "cuda":
                torch.cuda.synchronize()
        except (RuntimeError, AttributeError, ImportError) as error:
            print(f"{name}: not measured: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
            del variants[name]
        x.clear()


def measure(x: Setting, variants: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each round; they run in turn, and the first round is not counted."""
    seconds = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            x.clear()
            if x.device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            if x.device.type == "cuda":
                torch.cuda.synchronize()
            if number > 0:
                seconds[name].append(time.perf_counter() - start)
    x.clear()
    return seconds


def ratio(seconds: list[float], others: list[float]) -> float:
    """The median of the ratios within rounds, which a change of the machine's load leaves alone."""
    return statistics.median(a / b for a, b in zip(seconds, others))


def import_or_say(name: str):
    """A module, or None and a line that says why."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        print(f"{name} does not import, so it is not measured: {error}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--bfloat16", action="store_true", help="inputs and parameters in bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on a CPU")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, of which the median is shown")
    parser.add_argument("--batch", type=int, default=30, help="utterances")
    parser.add_argument("--frames", type=int, default=440, help="encoder frames of the longest")
    parser.add_argument("--symbols", type=int, default=104, help="tokens of the longest")
    parser.add_argument("--width", type=int, default=512, help="encoder, predictor and joiner dimension")
    parser.add_argument("--prune-range", type=int, default=5, help="states per frame")
    parser.add_argument("--vocab", type=int, nargs="+", default=[500, 5000], help="vocabulary sizes")
    parser.add_argument("--full", action="store_true", help="measure the full-sum loss too, beside torchaudio's")
    parser.add_argument("--tdt", action="store_true", help="measure the loss of tokens and durations too")
    parser.add_argument("--compile", action="store_true", help="measure the formulas under torch.compile too")
    parser.add_argument(
        "--flush-denormals", action="store_true", help="take float32 denormals as zero, in all variants"
    )
    args = parser.parse_args()
    torch.set_flush_denormal(args.flush_denormals)  # before torch starts threads, which inherit it
    torch.set_num_threads(args.threads)
    full, compiled = args.full, args.compile
    k2 = import_or_say("k2")
    torchaudio = import_or_say("torchaudio") if full else None
    version = getattr(k2, "__version__", "not measured")
    denormals = ", denormals flushed" if args.flush_denormals else ""
    print(f"torch {torch.__version__}, k2 {version}, {args.device}, {args.threads} threads{denormals}")
    for vocab in args.vocab:
        x = Setting(args, vocab)
        variants = make_variants(x, compiled, full, args.tdt, k2, torchaudio)
        drop_failing(x, variants)
        seconds = measure(x, variants, args.rounds)
        peaks = {}
        for name, run in variants.items():
            if not name.startswith("floor"):
                with PeakMemory(x.device) as memory:
                    run()
                peaks[name] = memory.mb
                x.clear()
        logits_mb = args.batch * args.frames * args.prune_range * vocab * 4 / 1e6
        joiner = {"rnnt": peak_of_pruned(x, rnnt_simple, rnnt_pruned, "auto")}
        if k2:
            joiner["k2"] = peak_of_pruned(x, k2_simple, k2_pruned, k2)
        complete_mb = args.batch * args.frames * (args.symbols + 1) * vocab * 4 / 1e6
        print(f"\nV {vocab}: float32 logits are {logits_mb:.0f} MB (B,T,R,V), {complete_mb:.0f} MB (B,T,U,V)")
        print(f"{'':24}{'step, s':>10}{'x floor':>10}{'x rnnt':>10}{'step peak, MB':>16}{'joiner peak, MB':>18}")
        for name, values in seconds.items():
            peak, pruned_peak = (f"{m[name]:.0f}" if name in m else "" for m in (peaks, joiner))
            ratios = "".join(f"{ratio(values, seconds[other]):>10.2f}" for other in ("floor", "rnnt"))
            print(f"{name:24}{statistics.median(values):>10.3f}{ratios}{peak:>16}{pruned_peak:>18}", flush=True)


if __name__ == "__main__":
    main()
