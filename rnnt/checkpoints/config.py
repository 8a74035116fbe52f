"""Options that name checkpoints, and of the export of a model. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class Selection:
    """Which checkpoints make the model."""

    epoch: int = option(0, "use epoch-N.pt; 0: the last one", minimum=0)
    avg: int = option(1, "average this many epochs, up to --epoch", minimum=1)
    best: int = option(
        0, "average the N epochs with the best results on the dev set; 0: use --epoch and --avg", minimum=0
    )
    iter: int = option(0, "use --avg checkpoint-M.pt up to update N; 0: use --epoch and --avg", minimum=0)
    use_averaged_model: bool = option(
        False, "average over all updates of the last --avg epochs (or checkpoints, with --iter), not over their ends"
    )
    use_ema: bool = option(True, "take the moving average of the weights (--ema-decay) where checkpoints hold one")
    use_adapters: bool = option(True, "false: leave the adapters (--adapter-dim) out, as before they were trained")

    def __post_init__(self) -> None:
        if self.best and (self.iter or self.use_averaged_model):
            raise ValueError("--best goes neither with --iter nor with --use-averaged-model")


@dataclass(frozen=True)
class ExportConfig:
    """Export."""

    out: str = option(help="folder to write; must not exist")
    format: str = option(
        "model",
        "a model directory of this toolkit; one for a model hub, with safetensors and a model card; pretrained.pt "
        "of icefall's programs; or ONNX graphs for sherpa-onnx",
        choices=["model", "hub", "icefall", "onnx"],
    )
    exp_dir: str = option("exp/train", "experiment folder with the checkpoints")
    manifest_dir: str = option("", "folder of the training cuts, for averages; empty: where training found them")
    quantize: str = option(
        "none", "with --format onnx: weights of 8 bits, a quarter of the size", choices=["none", "int8"]
    )
    precision: str = option(
        "fp32", "with --format onnx: fp16 stores the weights in half the size", choices=["fp32", "fp16"]
    )
    streaming: bool = option(False, "with --format onnx: an encoder that hears speech piece by piece")
    chunk_size: int = option(16, "with --streaming true: frames of 20 ms in a piece", minimum=1)
    left_context_frames: int = option(
        128, "with --streaming true: frames of 20 ms before a piece that a causal Zipformer sees", minimum=1
    )
    check: list[str] = option(
        [],
        "with --format onnx: audio files, folders or patterns; by PyTorch and the graphs they must get the same text",
    )

    def __post_init__(self) -> None:
        if self.format != "onnx" and (self.quantize != "none" or self.precision != "fp32" or self.check):
            raise ValueError("--quantize, --precision and --check are of --format onnx")
        if self.streaming and (self.format != "onnx" or self.check):
            raise ValueError("--streaming is of --format onnx, without --check")
        if self.quantize != "none" and self.precision != "fp32":
            raise ValueError("--quantize and --precision exclude each other")


@dataclass(frozen=True)
class ImportConfig:
    """Import."""

    out: str = option(help="model directory to write; must not exist")
    tokens: str = option(help="bpe.model or tokens.txt of the model, or the folder with one of them")
    use_averaged_model: bool = option(False, "take the mean of the weights over all updates (model_avg)")
    average_from: str = option("", "earlier checkpoint: take the mean over the updates since it")
    num_heads: list[int] = option(
        [], "attention heads of each stack, where shapes leave a doubt; so the next three", minimum=1
    )
    query_head_dim: list[int] = option([], "width of a head's query and key", minimum=1)
    pos_head_dim: list[int] = option([], "width of a head's query for distances (default: 4)", minimum=1)
    value_head_dim: list[int] = option([], "width of a head's value", minimum=1)
    encoder_unmasked_dim: list[int] = option([], "channels that training never drops; only for fine-tuning", minimum=1)
    chunk_size: list[int] = option([], "of a causal model: the chunks that it was trained with", minimum=-1)
    left_context_frames: list[int] = option(
        [], "of a causal model: the frames before a chunk that it was trained with", minimum=-1
    )
