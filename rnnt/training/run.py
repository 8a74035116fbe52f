"""One training of a recogniser on one rank, from its options to its end; what trainings of all kinds have in common."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from rnnt.checkpoints.init_from import init_from
from rnnt.data.plan import plan_fingerprint
from rnnt.distributed.device import check_precision, set_threads
from rnnt.distributed.world import World, join_world
from rnnt.errors import UserError, counted, one_line
from rnnt.model.encoders.adapter import adapters
from rnnt.model.objectives.base import TrainingModel
from rnnt.model.transducer import Transducer
from rnnt.options import to_dict
from rnnt.search.needs import check_method, default_search
from rnnt.training.data import load_training_data
from rnnt.training.experiment import (
    lock_experiment,
    open_log_file,
    resolve_model_config,
    set_up_log,
    without_unused_parts,
    write_experiment,
)
from rnnt.training.loop import Trainer
from rnnt.training.tasks.finetune import freeze
from rnnt.training.tasks.recognition import RecognitionTask

if TYPE_CHECKING:
    import logging

    from rnnt.distributed.signals import Interruption
    from rnnt.model.config import ModelConfig
    from rnnt.model.trainable import Trainable
    from rnnt.training.config import Options, RunConfig
    from rnnt.training.observers import Observer
    from rnnt.training.tasks.base import RunOptions, Task


def run(options: Options, observers: Sequence[Observer], interruption: Interruption) -> None:
    """Train on this rank.

    Args:
        options: of the run.
        observers: see `rnnt.training.observers`.
        interruption: of this process.

    Raises:
        UserError: something that the user can fix.
        Interrupted: a signal ended the run, whose checkpoint is safe.
    """
    train = options.train
    wanted = without_unused_parts(options.model, options.loss.loss)
    set_threads(train.threads, train.world_size)
    if train.print_model and wanted.num_features and wanted.vocab_size:
        with torch.device("meta"):  # shapes without memory; neither data nor tokenizer is needed
            print_model(TrainingModel(Transducer(wanted), options.loss.loss))
        return
    data = load_training_data(options)
    model_config = resolve_model_config(wanted, data.features, data.tokenizer)
    torch.manual_seed(options.batch.seed)
    model = make_model(model_config, options)
    if train.print_model:
        print_model(model)
        return
    check_method(model.searched(), default_search(model.searched(), options.search), "the dev set")
    model.network.set_feature_statistics(data.mean_F, data.std_F)

    world, log = join(train, model)
    durations = data.train.durations
    log.info("data: %.1f h in %s", durations.sum() / 3600, counted(len(durations), "utterance"))
    for line in data.train.describe(options.batch.seed):
        log.info("data: %s", line)
    fingerprint = {
        "config": {"model": to_dict(model_config), "features": to_dict(data.features)},
        "losses": list(model.objectives),
        "heads": [to_dict(config) for config in options.loss.loss if config.has_search_head],
        "tokenizer": data.tokenizer_id,
        "plan": plan_fingerprint(options.batch, durations, world.size * train.accum_grad, data.train.plan_key()),
    }
    if options.finetune.in_part or adapters(model):
        fingerprint["finetune"] = to_dict(options.finetune)
    if train.init_from:
        init_from(model, train.init_from, data.features, data.tokenizer_id, log)
    freeze(model, options.finetune, train.init_from, log)
    model.to(world.device)

    def write() -> None:
        resolved = {"model": model_config, "features": data.features}
        write_experiment(train.exp_dir, options, resolved, data.bpe_model)

    task = RecognitionTask(options, model, data, fingerprint)
    run_task(options, task, world, log, interruption, observers, write)


def join(train: RunConfig, model: Trainable) -> tuple[World, logging.Logger]:
    """Meet the other ranks; the log begins with them and the model."""
    world = join_world(train.device, train.master_port, train.dist_timeout)
    check_precision(train.precision, world.device)
    log = set_up_log(world.is_main)
    if world.size > 1:
        for rank, description in enumerate(world.roster):
            log.info("rank %d of %d: %s", rank, world.size, description)
    log.info(
        "%s on %s, %s, %s each",
        counted(world.size, "process", "processes"), world.device, train.precision,
        counted(torch.get_num_threads(), "thread"),
    )  # fmt: skip
    log.info("model: %s parameters; loss: %s", f"{_count_parameters(model):,}", model.describe())
    return world, log


def run_task(
    options: RunOptions,
    task: Task,
    world: World,
    log: logging.Logger,
    interruption: Interruption,
    observers: Sequence[Observer],
    write: Callable[[], None],
) -> None:
    """Continue or begin the training of a task, and bring it to its end.

    Args:
        options: of the run.
        task: what is trained; its model is on the device of the world.
        world: this process among all.
        log: of the run.
        interruption: of this process.
        observers: see `rnnt.training.observers`.
        write: writes config.json and what else the experiment folder is to hold from the beginning.
    """
    exp_dir = options.train.exp_dir
    with lock_experiment(exp_dir) if world.is_main else contextlib.nullcontext():
        trainer = Trainer(options, task, world, log, interruption, observers)
        trainer.resume()
        # A training that is refused has written nothing: all checks come before this line.
        if world.is_main:
            open_log_file(exp_dir, log)
            write()
        trainer.run()


def make_model(config: ModelConfig, options: Options) -> TrainingModel:
    """The network with first weights, and the objectives that train it.

    Raises:
        UserError: its weights alone are more than this machine's memory.
    """
    check_size(lambda: TrainingModel(Transducer(config), options.loss.loss), "--encoder-dim")
    return TrainingModel(Transducer(config), options.loss.loss)


def check_size(make: Callable[[], torch.nn.Module], option: str) -> None:
    """Raise `UserError` where the weights of what `make` makes are more than this machine's memory.

    `option` makes it smaller.
    """
    try:
        with torch.device("meta"):  # shapes without memory
            number = _count_parameters(make())
    except RuntimeError as error:  # sizes beyond all integers
        raise UserError(f"the model is too large: {one_line(error)}; make it smaller, such as {option}") from None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 4 * number > memory:
        raise UserError(
            f"the model is too large: {number:,} parameters are {4e-9 * number:,.0f} GB, this machine has "
            f"{1e-9 * memory:,.0f} GB; make it smaller, such as {option}"
        )


def print_model(model: Trainable) -> None:
    """Print every parameter with its shape, and how many there are in all."""
    for name, parameter in model.named_parameters():
        name = name.removeprefix("network.")
        print(f"{name:60s} {str(tuple(parameter.shape)):24s} {parameter.numel():>12,d}")
    print(f"{'parameters':60s} {'':24s} {_count_parameters(model):>12,d}")


def _count_parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
