"""How much of a training step the losses take, with each backend, on the data and model of a recipe.

    cd egs/digits/ASR && . ./path.sh && python $RNNT_ROOT/benchmarks/training_step.py

A step is forward, backward and update on one micro-batch. The rest of it is measured as the same step with the sum of
the encoder and predictor outputs in place of the losses; the fraction of the losses is what is left. The backends take
turns within a round, so that ratios come from one run. (The reference takes a step per lattice node: minutes.)
"""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rnnt.cli import program
from rnnt.data.config import AugmentConfig, BatchConfig
from rnnt.options import make_parser, option, parse
from rnnt.training.config import Options

if TYPE_CHECKING:
    from rnnt.data.dataset import Batch
    from rnnt.model.objectives.base import TrainingModel


@dataclass(frozen=True)
class StepConfig:
    """Benchmark."""

    recipe_config: str = option("conf/train.yaml", "configuration of the training")
    manifest_dir: str = option("data/cuts", "folder of stage 6")
    bpe_model: str = option("data/lang_bpe_30/bpe.model", "SentencePiece model")
    backends: list[str] = option(["native"], "loss backends to compare: native, k2, reference", nonempty=True)
    threads: int = option(1, "CPU threads", minimum=1)
    micro_batches: int = option(8, "micro-batches in a round", minimum=1)
    rounds: int = option(5, "rounds; medians are printed", minimum=1)


def make_batches(config: StepConfig, batch_config: BatchConfig) -> "tuple[list[Batch], int]":
    """The first micro-batches of the second epoch's plan, in memory, and the number of tokens."""
    import numpy as np

    from rnnt.data.dataset import PlannedBatches
    from rnnt.data.feature_loader import open_feature_loader
    from rnnt.data.manifest import CutManifest
    from rnnt.data.plan import plan_epoch
    from rnnt.text.tokenizer import Tokenizer

    manifest = CutManifest(f"{config.manifest_dir}/train.jsonl")
    tokenizer = Tokenizer.load(config.bpe_model)
    with open(f"{config.manifest_dir}/cmvn.json") as file:
        mean = np.asarray(json.load(file)["mean"], dtype=np.float32)
    plan = plan_epoch(manifest.durations, batch_config.max_duration, batch_config.seed, 2)
    loader = open_feature_loader(manifest, AugmentConfig(), mean)
    dataset = PlannedBatches(manifest, plan, loader, tokenizer, batch_config.seed, 2)
    return [dataset[i] for i in range(config.micro_batches)], tokenizer.vocab_size


def time_steps(model: "TrainingModel", batches: "Sequence[Batch]", with_losses: bool) -> float:
    """Seconds of one pass over the batches."""
    import torch

    from rnnt.model.objectives.base import Utterances

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    start = time.perf_counter()
    for batch in batches:
        if with_losses:
            total = model(Utterances(batch.x_BTF, batch.x_len_B, *batch.targets()), 0).total
        else:
            h_BTD, _ = model.network.encode(batch.x_BTF, batch.x_len_B)
            total = h_BTD.sum() + model.network.predictor(batch.y_BS).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return time.perf_counter() - start


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    (config,), _ = parse(make_parser(__doc__, StepConfig), [StepConfig], argv)
    import torch

    from rnnt.training.run import make_model

    torch.set_num_threads(config.threads)
    parser, models = make_parser("", Options), {}
    (options,), _ = parse(parser, [Options], ["--config", config.recipe_config])
    batches, vocab_size = make_batches(config, options.batch)
    model_config = replace(options.model, num_features=batches[0].x_BTF.shape[2], vocab_size=vocab_size)
    for backend in config.backends:
        torch.manual_seed(0)
        argv = ["--config", config.recipe_config, "--loss-backend", backend]
        models[backend] = make_model(model_config, parse(parser, [Options], argv)[0][0])
    steps: dict[str, list[float]] = {backend: [] for backend in models}
    rests: list[float] = []
    for number in range(config.rounds + 1):
        rest = time_steps(next(iter(models.values())), batches, with_losses=False)
        times = {backend: time_steps(model, batches, with_losses=True) for backend, model in models.items()}
        if number:  # the first round warms up
            rests.append(rest)
            for backend, seconds in times.items():
                steps[backend].append(seconds)
    print(f"{config.threads} thread(s), {len(batches)} micro-batches, medians of {config.rounds} rounds")
    print(f"{'backend':12s} {'step, ms':>9s} {'losses, ms':>11s} {'fraction':>9s}")
    for backend, seconds in steps.items():
        step = statistics.median(seconds) / len(batches)
        fraction = statistics.median(1 - r / s for r, s in zip(rests, seconds))
        print(f"{backend:12s} {1000 * step:9.1f} {1000 * step * fraction:11.1f} {fraction:9.3f}")


if __name__ == "__main__":
    main()
