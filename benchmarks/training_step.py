"""How much of a training step the losses take, with each backend, on the data and model of a recipe.

    cd egs/digits/ASR && . ./path.sh && python $RNNT_ROOT/benchmarks/training_step.py

A step is forward, backward and update on one micro-batch. The rest of it is measured as the same step with the sum of
the encoder and predictor outputs in place of the losses; the share of the losses is what is left. The backends take
turns within a round, so that ratios come from one run.
"""

import json
import statistics
import time
from dataclasses import dataclass, replace

from rnnt.cli import program
from rnnt.data.config import AugmentConfig, BatchConfig
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.options import make_parser, option, parse, read_config


@dataclass(frozen=True)
class StepConfig:
    """Benchmark."""

    recipe_config: str = option("conf/train.yaml", "configuration of the training")
    manifest_dir: str = option("data/cuts", "folder of stage 6")
    bpe_model: str = option("data/lang_bpe_30/bpe.model", "SentencePiece model")
    backends: list[str] = option(["reference", "native"], "loss backends to compare")
    threads: int = option(1, "CPU threads")
    micro_batches: int = option(8, "micro-batches in a round")
    rounds: int = option(5, "rounds; medians are printed")


def make_batches(config, batch_config):
    """The first micro-batches of the second epoch's plan, in memory, and the number of tokens."""
    import numpy as np

    from rnnt.data.dataset import PlannedBatches
    from rnnt.data.manifest import CutManifest
    from rnnt.data.plan import plan_epoch
    from rnnt.text.tokenizer import Tokenizer

    manifest = CutManifest(f"{config.manifest_dir}/train.jsonl")
    tokenizer = Tokenizer.load(config.bpe_model)
    with open(f"{config.manifest_dir}/cmvn.json") as file:
        mean = np.asarray(json.load(file)["mean"], dtype=np.float32)
    plan = plan_epoch(manifest.durations, batch_config.max_duration, batch_config.seed, 2)
    dataset = PlannedBatches(manifest, plan, tokenizer, AugmentConfig(), mean, batch_config.seed, 2)
    return [dataset[i] for i in range(config.micro_batches)], tokenizer.vocab_size


def time_steps(model, batches, with_losses):
    """Seconds of one pass over the batches."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    start = time.perf_counter()
    for batch in batches:
        if with_losses:
            total = model(batch.x_BTF, batch.x_len_B, batch.y_BS, batch.y_len_B).total
        else:
            h_BTD, _ = model.encode(batch.x_BTF, batch.x_len_B)
            total = h_BTD.sum() + model.predictor(batch.y_BS).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return time.perf_counter() - start


@program
def main(argv=None):
    """Print the table."""
    (config,), _ = parse(make_parser(__doc__, StepConfig), [StepConfig], argv)
    import torch

    from rnnt.model.transducer import Transducer

    torch.set_num_threads(config.threads)
    values = read_config(config.recipe_config)
    batch_config, model_config, loss_config = (
        cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})
        for cls in (BatchConfig, ModelConfig, LossConfig)
    )
    batches, vocab_size = make_batches(config, batch_config)
    model_config = replace(model_config, num_features=batches[0].x_BTF.shape[2], vocab_size=vocab_size)
    models = {}
    for backend in config.backends:
        torch.manual_seed(0)
        models[backend] = Transducer(model_config, replace(loss_config, loss_backend=backend))
    steps, rests = {backend: [] for backend in models}, []
    for number in range(config.rounds + 1):
        rest = time_steps(next(iter(models.values())), batches, with_losses=False)
        times = {backend: time_steps(model, batches, with_losses=True) for backend, model in models.items()}
        if number:  # the first round warms up
            rests.append(rest)
            for backend, seconds in times.items():
                steps[backend].append(seconds)
    print(f"{config.threads} thread(s), {len(batches)} micro-batches, medians of {config.rounds} rounds")
    print(f"{'backend':12s} {'step, ms':>9s} {'losses, ms':>11s} {'share of losses':>16s}")
    for backend, seconds in steps.items():
        step = statistics.median(seconds) / len(batches)
        share = statistics.median(1 - r / s for r, s in zip(rests, seconds))
        print(f"{backend:12s} {1000 * step:9.1f} {1000 * step * share:11.1f} {100 * share:15.1f} %")


if __name__ == "__main__":
    main()
