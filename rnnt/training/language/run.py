"""One training of a language model on one rank, from its options to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rnnt.distributed.device import set_threads
from rnnt.errors import UserError, counted
from rnnt.files import file_sha256
from rnnt.model.language.base import make_language_model
from rnnt.options import to_dict
from rnnt.text.packed import pack_texts
from rnnt.text.tokenizer import SOS_EOS, Tokenizer
from rnnt.training.experiment import write_experiment
from rnnt.training.language.data import lines_fingerprint
from rnnt.training.language.task import LanguageData, LanguageTask, LanguageTraining
from rnnt.training.run import check_size, join, print_model, run_task

if TYPE_CHECKING:
    from rnnt.distributed.signals import Interruption
    from rnnt.model.language.config import LanguageModelConfig
    from rnnt.training.language.config import LanguageOptions
    from rnnt.training.observers import Observer


def run(options: LanguageOptions, observers: Sequence[Observer], interruption: Interruption) -> None:
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
    set_threads(train.threads, train.world_size)
    tokenizer = Tokenizer.load(train.bpe_model)
    config = complete(options.language_model, tokenizer)
    check_size(lambda: make_language_model(config), "--dim")
    torch.manual_seed(options.batch.seed)
    model = LanguageTraining(make_language_model(config))
    if train.print_model:
        print_model(model)
        return
    cache = train.token_dir or Path(train.exp_dir) / "tokens"
    for name, paths in (("--text", train.text), ("--dev-text", train.dev_text)):
        if not paths:
            raise UserError(f"{name} is missing: give one or more files of text, an utterance a line")
    texts = {"train": pack_texts(train.text, tokenizer, cache), "dev": pack_texts(train.dev_text, tokenizer, cache)}
    world, log = join(train, model)
    for name, text in texts.items():
        log.info(
            "%s: %s, %s, %s, of which %d unknown", name, counted(len(text), "line"), counted(text.words, "word"),
            counted(int(text.lengths.sum()), "token"), text.unknown,
        )  # fmt: skip
    lengths, most = texts["train"].lengths, options.batch.max_tokens_line
    if most and (lengths > most).any():
        log.info("%s of more than %d tokens: not used", counted(int((lengths > most).sum()), "line"), most)
    model.to(world.device)
    fingerprint = {
        "config": {"language_model": to_dict(config)},
        "losses": [],
        "tokenizer": file_sha256(tokenizer.model_path),
        "plan": lines_fingerprint(options.batch, lengths),
    }
    task = LanguageTask(options, model, LanguageData(texts, tokenizer.model_path), fingerprint)

    def write() -> None:
        write_experiment(train.exp_dir, options, {"language_model": config}, tokenizer.model_path)

    run_task(options, task, world, log, interruption, observers, write)


def complete(config: LanguageModelConfig, tokenizer: Tokenizer) -> LanguageModelConfig:
    """The options of a language model with the sizes that the tokenizer knows; `UserError` where they contradict it."""
    if config.vocab_size not in (0, tokenizer.vocab_size):
        raise UserError(
            f"--vocab-size is {config.vocab_size}, but the tokenizer has {tokenizer.vocab_size}; leave the option out"
        )
    boundary = config.boundary_id
    if boundary is None:
        boundary = tokenizer.tokens.index(SOS_EOS) if SOS_EOS in tokenizer.tokens else tokenizer.blank_id
    return replace(config, vocab_size=tokenizer.vocab_size, boundary_id=boundary)
