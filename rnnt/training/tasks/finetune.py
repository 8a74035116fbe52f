"""Fine-tuning of a part of the weights: which ones learn, and what the others do in training."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import nn

from rnnt.errors import UserError, counted
from rnnt.model.batchnorm import MaskedBatchNorm
from rnnt.model.encoders.adapter import adapters
from rnnt.model.encoders.zipformer.context import ChunkDraw
from rnnt.model.low_rank import add_lora, is_named
from rnnt.model.objectives.base import Objective

if TYPE_CHECKING:
    from rnnt.model.objectives.base import TrainingModel
    from rnnt.training.config import FinetuneConfig

# What is no regulariser of its own: a loss may be another one in evaluation, and cuDNN has gradients in training alone.
ALWAYS_TRAINING = (Objective, ChunkDraw, nn.RNNBase)


def freeze(model: TrainingModel, config: FinetuneConfig, init_from: str, log: logging.Logger) -> None:
    """Add LoRA to the encoder, and let nothing learn but that, its adapters and --train-modules.

    With adapters all that does not learn is in evaluation mode in training, as in icefall: they learn to mend what the
    encoder will give. With LoRA, in icefall too, dropout stays on, and only batch normalisation is in evaluation mode.

    Args:
        model: with trained weights.
        config: what is to learn; with its defaults, and without adapters, everything.
        init_from: where the weights are from.
        log: of the run.

    Raises:
        UserError: the weights are not trained, or an option names no part of the model or contradicts another.
    """
    own = adapters(model)
    if not config.in_part and not own:
        return
    if not init_from:
        raise UserError("--lora-rank, --adapter-dim and --train-modules are for fine-tuning: give --init-from as well")
    if own and config.lora_rank:
        raise UserError("--adapter-dim and --lora-rank exclude each other; leave one of them out")
    names = [name for name, _ in model.named_parameters()]
    for option, wanted in (("--train-modules", config.train_modules), ("--lora-modules", config.lora_modules)):
        for part in wanted:
            if not any(is_named(name, [part]) for name in names):
                raise UserError(f"{option} {part}: the model has no such part; train.py --print-model true shows them")
    learning = [*config.train_modules, *own]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and is_named(name, learning))
    if config.lora_rank and not add_lora(
        model.network.encoder, config.lora_rank, config.lora_alpha, config.lora_modules
    ):
        raise UserError("--lora-modules: no linear or LSTM layer of the encoder has such a name; leave the option out")
    model.in_evaluation = _frozen(model, learning) if own else _frozen_norms(model)
    sizes = [p.numel() for p in model.parameters() if p.requires_grad]
    total = sum(p.numel() for p in model.parameters())
    log.info("%s of %s numbers learn, in %s", f"{sum(sizes):,}", f"{total:,}", counted(len(sizes), "tensor"))


def _frozen(model: nn.Module, learning: Collection[str]) -> tuple[nn.Module, ...]:
    """All modules but those that `learning` names and what stays in training mode in any case, without its dropout."""
    found = []
    for name, module in model.named_modules():
        if is_named(name, learning):
            continue
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
        if not isinstance(module, ALWAYS_TRAINING):
            found.append(module)
    return tuple(found)


def _frozen_norms(model: nn.Module) -> tuple[nn.Module, ...]:
    """Batch normalisation whose weights do not learn: it keeps its statistics, and uses them."""
    norms = [module for module in model.modules() if isinstance(module, MaskedBatchNorm)]
    return tuple(norm for norm in norms if not any(p.requires_grad for p in norm.parameters()))
