"""Options of decoding. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.cli import parse_split
from rnnt.names import check_set_names
from rnnt.options import option


@dataclass(frozen=True)
class DecodeConfig:
    """Decoding."""

    exp_dir: str = option("exp/train", "experiment folder with the checkpoints")
    model_dir: str = option("", "decode with this model directory, not with checkpoints; results go to --exp-dir")
    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl and features.json (stage 6)")
    decode_sets: list[str] = option(["dev"], "sets to decode", nonempty=True)
    max_duration: float = option(600.0, "seconds of audio in a batch, padding counted", above=0)
    num_workers: int = option(1, "processes that load features; 0: the program itself", minimum=0, maximum=1024)
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores", minimum=0, maximum=4096)
    streaming: bool = option(False, "decode as streams would be, window by window, with an encoder that can")
    unit: str = option("word", "unit of counts, intervals and alignments", choices=["word", "char"])
    split: str = option("", "K/N: decode only shard K of N of each set, unless it is done; for arrays of jobs")
    merge: int = option(0, "score the N shards that --split K/N made, and decode nothing", minimum=0)

    def __post_init__(self) -> None:
        check_set_names(self.decode_sets, "--decode-sets")
        if self.merge and self.split:
            raise ValueError("--merge and --split exclude each other")
        parse_split(self.split)
