"""Train a transducer.

    train.py --config conf/train.yaml --exp-dir exp/lstm                       one process
    train.py --config conf/train.yaml --exp-dir exp/lstm --world-size 4        four processes on this machine
    srun --ntasks-per-node 8 train.py --config ...                             many machines, in a Slurm job
    torchrun --nnodes 2 --nproc-per-node 8 -m rnnt.train --config ...          many machines

Started again with the same --exp-dir it continues by itself, in the middle of an epoch too. SIGTERM, SIGUSR1 and
Ctrl-C lead to a checkpoint and status 99 (130 after Ctrl-C).
"""

import contextlib
import dataclasses
from dataclasses import dataclass

from rnnt.cli import program
from rnnt.data.config import AugmentConfig, BatchConfig, SyntheticConfig
from rnnt.errors import UserError
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.optim.config import OptimConfig
from rnnt.options import make_parser, parse, to_dict
from rnnt.search.config import SearchConfig
from rnnt.training.config import MllogConfig, TrainConfig
from rnnt.training.launch import launch


@dataclass(frozen=True)
class Options:
    """All options of a run, one dataclass a component."""

    train: TrainConfig
    batch: BatchConfig
    augment: AugmentConfig
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    search: SearchConfig
    synthetic: SyntheticConfig
    mllog: MllogConfig


CLASSES = [
    TrainConfig,
    BatchConfig,
    AugmentConfig,
    ModelConfig,
    LossConfig,
    OptimConfig,
    SearchConfig,
    SyntheticConfig,
    MllogConfig,
]


def print_model(model):
    """Print every parameter with its shape, and how many there are in all."""
    for name, parameter in model.named_parameters():
        print(f"{name:60s} {str(tuple(parameter.shape)):24s} {parameter.numel():>12,d}")
    print(f"{'parameters':60s} {'':24s} {sum(p.numel() for p in model.parameters()):>12,d}")


def usable_backend(name):
    """The name of the loss backend, with auto resolved; `UserError` where it can't be used here."""
    from rnnt.loss.backends import import_k2, resolve

    backend = resolve(name)
    if backend == "k2":
        try:
            import_k2()
        except ValueError as error:
            raise UserError(f"--loss-backend k2: {error}; native gives the same numbers") from None
    return backend


def run(options, observers, interruption):
    """Train on this rank. `observers`: see rnnt/training/observers.py; they must pickle."""
    import torch

    from rnnt.model.transducer import Transducer
    from rnnt.training.distributed import join_world, set_threads
    from rnnt.training.experiment import claim, plan_fingerprint, resolve_model_config, set_up_log, write_experiment
    from rnnt.training.init_from import init_from
    from rnnt.training.loop import Trainer
    from rnnt.training.sources import open_sources

    train = options.train
    backend = usable_backend(options.loss.loss_backend)
    set_threads(train.threads, train.world_size)
    if train.print_model and options.model.num_features and options.model.vocab_size:
        with torch.device("meta"):  # shapes without memory; neither data nor tokenizer is needed
            print_model(Transducer(options.model, options.loss))
        return
    sources = open_sources(options)
    features, tokenizer, manifests = sources.features, sources.tokenizer, sources.manifests
    model_config = resolve_model_config(options.model, features, tokenizer)
    torch.manual_seed(options.batch.seed)
    model = Transducer(model_config, options.loss)
    if train.print_model:
        print_model(model)
        return
    model.set_feature_statistics(sources.mean_F, sources.std_F)

    world = join_world(train.device, train.master_port, train.dist_timeout)
    if train.use_fp16 and world.device.type == "cpu":
        raise UserError("--use-fp16 needs a GPU; on a CPU use --use-bf16, or neither")
    lock = claim(train.exp_dir) if world.is_main else contextlib.nullcontext()
    log = set_up_log(train.exp_dir, world.is_main)
    loss = dataclasses.replace(options.loss, loss_backend=backend)
    configs = {**vars(options), "model": model_config, "loss": loss, "features": features}
    if world.is_main:
        write_experiment(train.exp_dir, configs, sources.bpe_model)
    if world.size > 1:
        for rank, description in enumerate(world.roster):
            log.info("rank %d of %d: %s", rank, world.size, description)
    log.info(
        "%d process(es) on %s, %s, %d threads each", world.size, world.device, train.precision, torch.get_num_threads()
    )
    log.info(
        "model: %s parameters; loss backend: %s",
        f"{sum(p.numel() for p in model.parameters()):,}",
        backend,
    )
    log.info("data: %.1f h in %d utterances", manifests["train"].durations.sum() / 3600, len(manifests["train"]))
    identity = {
        "config": {"model": to_dict(model_config), "features": to_dict(features)},
        "loss": [name for name in ("simple_am_proj", "ctc_output") if hasattr(model, name)],
        "tokenizer": sources.tokenizer_id,
        "plan": plan_fingerprint(options.batch, manifests["train"].durations, world.size * train.accum_grad),
    }
    if train.init_from:
        init_from(model, train.init_from, features, sources.tokenizer_id, log)
    model.to(world.device)
    with lock:
        trainer = Trainer(
            options, model, manifests, tokenizer, sources.mean_F, identity, world, log, interruption, observers
        )
        trainer.run()


@program
def main(argv=None):
    """Entry of `train.py`."""
    objects, _ = parse(make_parser(__doc__, *CLASSES), CLASSES, argv)
    options = Options(*objects)
    observers = []
    if options.mllog.mllog:
        from rnnt.training.mllog import MlperfLog

        observers.append(MlperfLog(options.mllog, options))
    launch(run, (options, observers), options.train.world_size, options.train.master_port)


if __name__ == "__main__":
    main()
