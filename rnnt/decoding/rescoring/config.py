"""Options of rescoring. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.names import check_set_names
from rnnt.options import option


@dataclass(frozen=True)
class RescoreConfig:
    """Rescoring."""

    decode_dir: str = option(help="a decode with n-best lists (--nbest): EXP/decode_...")
    sets: list[str] = option([], "sets of it; empty: all")
    tune_set: str = option("", "set on which the weights of --grid are chosen, with which then all sets are rescored")
    grid: list[str] = option(
        [], "NAME=VALUE,VALUE,... of weights, all combinations (default: those of the given models, 9 values each)"
    )
    length_norm: bool | None = option(None, "rank by score / (tokens + 1), not by score (default: as the decode did)")
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(0, "CPU threads; 0: as many as cores", minimum=0, maximum=4096)

    def __post_init__(self) -> None:
        check_set_names(self.sets, "--sets")
        if self.grid and not self.tune_set:
            raise ValueError("--grid needs --tune-set, the set on which the best weights are found")
