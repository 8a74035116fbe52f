"""Options of forced alignment. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.names import check_set_names
from rnnt.options import option


@dataclass(frozen=True)
class AlignConfig:
    """Alignment."""

    exp_dir: str = option("exp/train", "experiment folder with the checkpoints; results go there")
    model_dir: str = option("", "align with this model directory, not with checkpoints")
    manifest_dir: str = option("data/cuts", "folder with <set>.jsonl and features.json (stage 6)")
    sets: list[str] = option(["dev"], "sets to align", nonempty=True)
    align_with: str = option(
        "auto",
        "what says when a token is there; auto: the CTC layer if the model has one",
        choices=["auto", "ctc", "transducer"],
    )
    word_edges: str = option(
        "pauses",
        "where words begin and end: at pauses of the audio between their tokens, or with the frames of their tokens",
        choices=["pauses", "tokens"],
    )
    textgrids: bool = option(False, "write a TextGrid of Praat for each utterance, too")
    cut_seconds: float = option(
        0.0,
        "write a set of parts that are cut in pauses between words, where an utterance is longer than this: "
        "<set>/cuts/<set> for train.py --train-set; 0: none",
        minimum=0,
    )
    max_duration: float = option(600.0, "seconds of audio in a batch, padding counted", above=0)
    num_workers: int = option(1, "processes that load features; 0: the program itself", minimum=0, maximum=1024)
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores", minimum=0, maximum=4096)

    def __post_init__(self) -> None:
        check_set_names(self.sets, "--sets")
