"""Measure utterances per second of the training step of MLPerf's RNN-T by micro-batch and precision, on synthetic data.

    python benchmarks/mlperf_training.py                                      on a GPU
    python benchmarks/mlperf_training.py --device cpu --micro-batches 2 --precisions fp32 --scale 0.2

A step is forward, backward, LAMB and the moving average on one micro-batch of utterances with the lengths of the
corpus, chosen by the plan of a training. Batches are in the memory of the device: loading is measured separately, for
one process. Evaluation decodes --dev synthetic utterances by greedy search. The weights are untrained, so the bias of
blank is set such that about one frame in eight has a token.
"""

import contextlib
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.cli import program
from rnnt.options import make_parser, option, parse

if TYPE_CHECKING:
    from rnnt.data.dataset import Batch
    from rnnt.train import Options

FOLDER = Path(__file__).parents[1] / "egs/librispeech/ASR/conf/mlperf"


@dataclass(frozen=True)
class BenchmarkConfig:
    """Benchmark."""

    recipe_config: str = option(str(FOLDER / "512.yaml"), "configuration of the training")
    lengths: str = option(str(FOLDER / "synthetic.yaml"), "lengths of the utterances")
    micro_batches: list[int] = option([64, 128, 256, 512], "utterances per step", minimum=1, nonempty=True)
    precisions: list[str] = option(["bf16"], "fp32, bf16, fp16", nonempty=True)
    device: str = option("cuda", "where to compute", choices=["cpu", "cuda"])
    steps: int = option(10, "steps that are timed; medians are printed", minimum=1)
    warm_up: int = option(3, "steps before them", minimum=0)
    scale: float = option(1.0, "factor on the durations, to try it on a small machine", above=0)
    dev: int = option(2703, "utterances to decode; 0: none", minimum=0)
    threads: int = option(1, "CPU threads", minimum=1)
    profile: str = option("", "write torch's profile of two steps, a table, to this file")


def read_options(config: BenchmarkConfig) -> "Options":
    """The `Options` of a training with the configuration, on synthetic data."""
    from rnnt.training.config import Options

    (options,), _ = parse(make_parser("", Options), [Options], ["--config", config.recipe_config])
    synthetic = replace(options.synthetic, synthetic=config.lengths, synthetic_scale=config.scale)
    return replace(options, synthetic=replace(synthetic, synthetic_dev=max(config.dev, 1)))


class Step:
    """A training step of the recipe, without its loader."""

    def __init__(self, options: "Options", precision: str, device: str) -> None:
        import torch

        from rnnt.optim.optimizer import make_optimizer
        from rnnt.training.run import make_model
        from rnnt.training.state import start_ema

        torch.manual_seed(0)
        self.device = torch.device(device)
        self.model = make_model(options.model, options).to(device).train()
        self.optimizer = make_optimizer(self.model, options.optim.optimizer)
        self.ema = start_ema(self.model, options.train.ema_decay)
        dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.autocast = torch.autocast(device, dtype) if dtype else contextlib.nullcontext()
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")

    def __call__(self, batch: "Batch") -> None:
        self.optimizer.zero_grad(set_to_none=True)
        from rnnt.model.objectives.base import Utterances

        with self.autocast:
            losses = self.model(Utterances(batch.x_BTF, batch.x_len_B, *batch.targets()), 0)
        self.scaler.scale(losses.total / len(batch)).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.ema.update_parameters(self.model)

    def synchronize(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize()


def load(
    options: "Options", manifests: dict[str, Any], tokenizer: Any, size: int, number: int, device: str
) -> "tuple[list[Batch], float]":
    """Load the first micro-batches of an epoch.

    Args:
        options: options of the training.
        manifests: synthetic sets by name.
        tokenizer: that of the sets.
        size: utterances per micro-batch.
        number: micro-batches.
        device: where to put them.

    Returns:
        The micro-batches, and the utterances per second that one process loads.
    """
    import numpy as np

    from rnnt.data.dataset import PlannedBatches
    from rnnt.data.plan import plan_training

    batch = replace(options.batch, batch_size=size)
    plan = plan_training(batch, manifests["train"].durations, 1, 1)[:number]
    fill_F = np.zeros(options.model.num_features, np.float32)
    loader = manifests["train"].feature_loader(options.augment, fill_F)
    dataset = PlannedBatches(manifests["train"], plan, loader, tokenizer, 0, 1)
    start = time.perf_counter()
    batches = [dataset[i] for i in range(len(plan))]
    speed = size * len(plan) / (time.perf_counter() - start)
    for item in batches:
        item.x_BTF, item.y_BS = item.x_BTF.to(device), item.y_BS.to(device)
    return batches, speed


def time_steps(step: Step, batches: "list[Batch]", warm_up: int) -> float:
    """Median of the seconds of the steps after the first `warm_up`."""
    seconds = []
    for batch in batches:
        start = time.perf_counter()
        step(batch)
        step.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[warm_up:])


def write_profile(step: Step, batches: "list[Batch]", path: str) -> None:
    """Write a table of the operations of two steps, the longest first."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if step.device.type == "cuda" else [])
    with profile(activities=kinds) as found:
        for batch in batches[-2:]:
            step(batch)
        step.synchronize()
    key = "self_cuda_time_total" if step.device.type == "cuda" else "self_cpu_time_total"
    Path(path).write_text(found.key_averages().table(sort_by=key, row_limit=40))


def time_evaluation(step: Step, options: "Options", manifest: Any, tokenizer: Any) -> None:
    """Print seconds and tokens of decoding the dev set; features are loaded before."""
    import torch

    from rnnt.data.dataset import open_batches
    from rnnt.model.masking import valid_mask
    from rnnt.search.batches import decode_batches

    model = step.model.network.eval()
    batches = list(open_batches(manifest, manifest.feature_loader(), options.batch.max_duration))
    with torch.inference_mode():
        bias_V = model.joiner.output.bias
        h_BTD, h_len_B = model.encode(batches[-1].x_BTF.to(step.device), batches[-1].x_len_B)
        first_N = model.predictor.start(len(h_BTD), step.device)
        g_ND, _ = model.predictor.step(first_N, model.predictor.initial_state(len(h_BTD), step.device))
        e_BTJ = model.joiner.project_encoder(h_BTD)
        scores = model.joiner.logits(e_BTJ, model.joiner.project_predictor(g_ND)[:, None])
        blank = scores[..., model.blank_id].clone()
        scores[..., model.blank_id] = -1e9
        margin = (scores.amax(dim=-1) - blank)[valid_mask(h_len_B, h_BTD.shape[1])]
        bias_V[model.blank_id] += margin.float().quantile(7 / 8)
    step.synchronize()
    start = time.perf_counter()
    with step.autocast:
        decoded = list(decode_batches(model, batches, options.search, step.device))
    step.synchronize()
    seconds = time.perf_counter() - start
    rate = sum(len(best.tokens) for _, nbest, _ in decoded for [best] in nbest) / manifest.durations.sum()
    print(f"evaluation: {len(manifest)} utterances in {seconds:.2f} s, {rate:.1f} tokens per second of speech")


@program
def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    (config,), _ = parse(make_parser(__doc__, BenchmarkConfig), [BenchmarkConfig], argv)
    import torch

    from rnnt.training.data import load_training_data

    torch.set_num_threads(config.threads)
    options = read_options(config)
    sources = load_training_data(options)
    manifests = {"train": sources.train, **sources.dev}
    name = torch.cuda.get_device_name() if config.device == "cuda" else f"CPU, {config.threads} thread(s)"
    print(f"{name}, torch {torch.__version__}, medians of {config.steps} steps, durations x {config.scale:g}")
    print(f"{'precision':>9} {'micro-batch':>11} {'ms/step':>9} {'utt/s':>9} {'loader utt/s':>12} {'memory, GB':>10}")
    for precision in config.precisions:
        for size in config.micro_batches:
            step = Step(options, precision, config.device)
            batches, loaded = load(
                options, manifests, sources.tokenizer, size, config.warm_up + config.steps, config.device
            )
            if config.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            seconds = time_steps(step, batches, config.warm_up)
            memory = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if config.device == "cuda" else "-"
            print(
                f"{precision:>9} {size:11d} {1000 * seconds:9.1f} {size / seconds:9.1f} {loaded:12.1f} {memory:>10}",
                flush=True,
            )
    if config.profile:
        write_profile(step, batches, config.profile)
    if config.dev:
        time_evaluation(step, options, manifests["dev"], sources.tokenizer)


if __name__ == "__main__":
    main()
