"""All options of a training: those of the run, and of every component. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.data.config import AugmentConfig, BatchConfig, SyntheticConfig
from rnnt.data.sets.config import FetchConfig, MixConfig, parse_sets
from rnnt.model.config import ModelConfig
from rnnt.model.objectives import OBJECTIVES
from rnnt.model.objectives.config import ObjectiveConfig
from rnnt.optim.config import OptimConfig
from rnnt.options import components, option
from rnnt.search.config import SearchConfig


@dataclass(frozen=True)
class RunConfig:
    """Training run, of whatever kind of model."""

    exp_dir: str = option("exp/train", "folder for checkpoints, logs and TensorBoard; a run in it is continued")
    bpe_model: str = option("data/lang_bpe_500/bpe.model", "SentencePiece model (stage 5)")
    num_epochs: int = option(30, "epochs to train", minimum=1)
    max_updates: int = option(0, "end training after that many updates, as for a trial; 0: make all epochs", minimum=0)
    start_epoch: int = option(
        0, "continue from epoch-(N-1).pt; 0: from the newest checkpoint, if there is one", minimum=0
    )
    world_size: int = option(1, "processes on this machine; torchrun and srun take precedence", minimum=1, maximum=1024)
    master_port: int = option(
        0, "port where the processes meet; 0: a free one, under srun derived from the job", minimum=0, maximum=65535
    )
    dist_timeout: int = option(
        600,
        "seconds after which processes that do not come or fall silent end the others",
        minimum=1,
        maximum=1_000_000,
    )
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads of each process; 0: cores / processes", minimum=0, maximum=4096)
    accum_grad: int = option(1, "micro-batches per process that make one update", minimum=1)
    exchange_bf16: bool = option(False, "processes exchange gradients in bfloat16: half the bytes, rounded sums")
    use_fp16: bool = option(False, "half precision with a gradient scaler")
    use_bf16: bool = option(False, "bfloat16 precision")
    ema_decay: float = option(
        0.0,
        "decay of an exponential moving average of the weights, with which the dev set is measured; 0: none",
        minimum=0,
        below=1,
    )
    average_period: int = option(
        200,
        "updates between two snapshots for the mean of the weights that --use-averaged-model decodes with; 0: none",
        minimum=0,
    )
    save_every_n: int = option(1000, "updates between two checkpoint-N.pt", minimum=1)
    keep_last_k: int = option(3, "checkpoint-N.pt to keep", minimum=1)
    keep_last_epochs: int = option(5, "newest epoch-N.pt to keep; 0: all", minimum=0)
    keep_best_epochs: int = option(5, "epoch-N.pt of the best results on the dev set to keep", minimum=0)
    log_interval: int = option(50, "updates between two progress lines", minimum=1)
    max_bad_batches: int = option(
        5, "updates in a row with a non-finite loss or gradient after which training stops", minimum=0
    )
    tensorboard: bool = option(True, "write TensorBoard events to <exp-dir>/tensorboard")
    wandb: str = option("", "project of Weights & Biases that gets what TensorBoard gets; needs the package wandb")
    print_diagnostics: bool = option(
        False, "log the norms of outputs, gradients and updates of every module in the first updates"
    )
    inf_check: bool = option(False, "name the first module whose output or gradient is not finite; slow")
    print_model: bool = option(False, "print the layers and their parameters, then stop")

    def __post_init__(self) -> None:
        if self.use_fp16 and self.use_bf16:
            raise ValueError("--use-fp16 and --use-bf16 exclude each other")

    @property
    def precision(self) -> str:
        """fp32, fp16 or bf16."""
        return "fp16" if self.use_fp16 else "bf16" if self.use_bf16 else "fp32"


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Training run."""

    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl, features.json and cmvn.json (stage 6)")
    train_set: str = option(
        "train",
        'sets to train on, with weights or without: "new:0.7 old:0.3"; of --manifest-dir, or with their folder, as in '
        "data/old/train; an epoch goes once through the first",
    )
    dev_set: str = option(
        "dev", "sets to measure the WER on after each epoch; the first is the one by which epochs are compared"
    )
    normalize_features: bool = option(
        True, "subtract the mean of the training set from the features and divide by its deviation; icefall does not"
    )
    front_end: str = option("", "configuration of stage 3 by which the features must have been made; empty: any")
    stop_at_wer: float = option(
        0.0, "end training when the dev WER reaches this many percent; 0: make all epochs", minimum=0
    )
    ref_duration: float = option(
        600.0, "seconds of audio in an update for which the schedules within the model (zipformer) are written", above=0
    )
    init_from: str = option("", "begin with the weights of this model directory or experiment folder (fine-tuning)")
    scan_batches: bool = option(False, "first try whether the micro-batches that need most memory fit")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_sets(self.train_set, "--train-set", weights=True)
        parse_sets(self.dev_set, "--dev-set")


@dataclass(frozen=True)
class FinetuneConfig:
    """Fine-tuning of a part of the weights, with --init-from; see also --adapter-dim."""

    train_modules: list[str] = option(
        [],
        "parts of the model that alone learn, such as joiner or encoder.layers.3; none, and neither --lora-rank nor "
        "--adapter-dim: all",
    )
    lora_rank: int = option(
        0, "rank of LoRA's matrices, which then alone learn with --train-modules; 0: no LoRA", minimum=0
    )
    lora_alpha: float = option(4.0, "LoRA's matrices count alpha / rank times", above=0)
    lora_modules: list[str] = option(
        [],
        "linear and LSTM layers that get LoRA, by parts of their names such as self_attn1 feed_forward1.in_proj; "
        "none: all of the encoder",
    )

    @property
    def in_part(self) -> bool:
        """Whether some weights do not learn."""
        return bool(self.train_modules or self.lora_rank)

    def __post_init__(self) -> None:
        if self.lora_modules and not self.lora_rank:
            raise ValueError("--lora-modules goes with --lora-rank")


@dataclass(frozen=True)
class LossConfig:
    """Loss."""

    loss: tuple[ObjectiveConfig, ...] = components(OBJECTIVES, ["pruned"], "what is minimised: the sum of one or more")


@dataclass(frozen=True)
class Options:
    """Options of a training."""

    train: TrainConfig
    batch: BatchConfig
    mix: MixConfig
    fetch: FetchConfig
    augment: AugmentConfig
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    finetune: FinetuneConfig
    search: SearchConfig
    synthetic: SyntheticConfig
