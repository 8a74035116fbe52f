"""Options of the training program that belong to no component. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class Selection:
    """Which checkpoints make the model."""

    epoch: int = option(0, "use epoch-N.pt; 0: the last one")
    avg: int = option(1, "average that many epochs, up to --epoch")
    best: int = option(0, "average the best N epochs by dev WER; 0: use --epoch and --avg")
    iter: int = option(0, "use --avg checkpoint-M.pt up to update N; 0: use --epoch and --avg")
    use_averaged_model: bool = option(
        False, "average over all updates of the last --avg epochs (or checkpoints, with --iter), not over their ends"
    )
    use_ema: bool = option(True, "take the moving average of the weights (--ema-decay) where checkpoints hold one")

    def __post_init__(self):
        for name in ("epoch", "best", "iter"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} can't be negative")
        if self.avg < 1:
            raise ValueError("--avg must be at least 1")
        if self.best and (self.iter or self.use_averaged_model):
            raise ValueError("--best goes neither with --iter nor with --use-averaged-model")


@dataclass(frozen=True)
class TrainConfig:
    """Training run."""

    exp_dir: str = option("exp/train", "folder for checkpoints, logs and TensorBoard; a run in it is continued")
    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl, features.json and cmvn.json (stage 6)")
    train_set: str = option("train", "set to train on")
    dev_set: str = option("dev", "set to measure the WER on after each epoch")
    bpe_model: str = option("data/lang_bpe_500/bpe.model", "SentencePiece model (stage 5)")
    num_epochs: int = option(30, "epochs to train")
    stop_at_wer: float = option(0.0, "end training when the dev WER reaches this many percent; 0: make all epochs")
    max_updates: int = option(0, "end training after that many updates, as for a trial; 0: make all epochs")
    start_epoch: int = option(0, "continue from epoch-(N-1).pt; 0: from the newest checkpoint, if there is one")
    world_size: int = option(1, "processes on this machine; torchrun and srun take precedence")
    master_port: int = option(0, "port where the processes meet; 0: a free one, under srun one that the job tells")
    dist_timeout: int = option(600, "seconds after which processes that do not come or fall silent end the others")
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads of each process; 0: cores / processes")
    accum_grad: int = option(1, "micro-batches per process that make one update")
    use_fp16: bool = option(False, "half precision with a gradient scaler")
    use_bf16: bool = option(False, "bfloat16 precision")
    ema_decay: float = option(
        0.0, "decay of an exponential moving average of the weights, with which the dev set is decoded; 0: none"
    )
    average_period: int = option(
        200, "updates between two snapshots for the mean of the weights that --use-averaged-model decodes with; 0: none"
    )
    init_from: str = option("", "begin with the weights of this model directory or experiment folder (fine-tuning)")
    scan_batches: bool = option(False, "first try whether the micro-batches that need most memory fit")
    save_every_n: int = option(1000, "updates between two checkpoint-N.pt")
    keep_last_k: int = option(3, "checkpoint-N.pt to keep")
    keep_last_epochs: int = option(5, "newest epoch-N.pt to keep; 0: all")
    keep_best_epochs: int = option(5, "epoch-N.pt of the lowest dev WER to keep")
    log_interval: int = option(50, "updates between two progress lines")
    max_bad_batches: int = option(5, "updates in a row with a non-finite loss or gradient after which training stops")
    tensorboard: bool = option(True, "write TensorBoard events to <exp-dir>/tensorboard")
    print_model: bool = option(False, "print the layers and their parameters, then stop")

    def __post_init__(self):
        if self.use_fp16 and self.use_bf16:
            raise ValueError("--use-fp16 and --use-bf16 exclude each other")
        for name in ("num_epochs", "world_size", "accum_grad", "save_every_n", "keep_last_k", "log_interval",
                     "dist_timeout"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError("--ema-decay must be in [0, 1)")
        for name in ("stop_at_wer", "max_updates", "average_period"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} can't be negative")

    @property
    def precision(self):
        """fp32, fp16 or bf16."""
        return "fp16" if self.use_fp16 else "bf16" if self.use_bf16 else "fp32"


@dataclass(frozen=True)
class MllogConfig:
    """Log of an MLPerf run."""

    mllog: bool = option(False, "write the `:::MLLOG` lines of MLPerf Training to the output")
    mllog_org: str = option("unnamed", "who ran it")
    mllog_platform: str = option("", "the system it ran on (default: name of the machine)")
    mllog_division: str = option("open", "division of the rules", choices=["closed", "open"])
    mllog_status: str = option("research", "kind of system", choices=["onprem", "cloud", "preview", "research"])
    mllog_cache_cleared: bool = option(False, "say that the page cache was cleared before")
