"""All options of the training of a language model. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.model.language.config import LanguageModelConfig
from rnnt.optim.config import OptimConfig
from rnnt.options import option
from rnnt.training.config import RunConfig


@dataclass(frozen=True)
class LanguageRunConfig(RunConfig):
    """Training run."""

    exp_dir: str = option("exp/lm", "folder for checkpoints, logs and TensorBoard; a run in it is continued")
    text: list[str] = option([], "texts to train on, .gz or plain, an utterance a line, written like the transcripts")
    dev_text: list[str] = option([], "texts to measure the perplexity on after each epoch")
    token_dir: str = option(
        "", "folder for the token ids of the texts, which trainings may share; empty: tokens in --exp-dir"
    )


@dataclass(frozen=True)
class TextBatchConfig:
    """Batches."""

    max_tokens: int = option(8000, "tokens in a micro-batch, ends of lines and padding counted", minimum=1)
    max_tokens_line: int = option(1000, "lines of more tokens than this are left out of training; 0: none", minimum=0)
    block_lines: int = option(
        200_000, "lines that are shuffled together; the blocks come in another order in each epoch", minimum=1
    )
    seed: int = option(42, "seed of the first weights, the plan and dropout", minimum=0)
    num_workers: int = option(
        1, "processes per rank that load tokens; 0: the training process itself", minimum=0, maximum=1024
    )


@dataclass(frozen=True)
class LanguageOptions:
    """Options of the training of a language model."""

    train: LanguageRunConfig
    batch: TextBatchConfig
    language_model: LanguageModelConfig
    optim: OptimConfig
