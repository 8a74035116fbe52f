"""What 1,000, 10,000 and 100,000 hours need, computed from rates that this project has measured: docs/scale.md.

python benchmarks/scale.py          prints the table of that page
"""

from dataclasses import dataclass

from rnnt.cli import program
from rnnt.options import make_parser


@dataclass(frozen=True)
class Rate:
    """A measured number.

    Attributes:
        value: the number.
        page: where it stands.
        words: how it stands there.
    """

    value: float
    page: str
    words: str


RATES = {
    "import_s": Rate(118 / 300_000, "docs/data.md", "every file opened | 300000 | 695 | 4 | 118 |"),
    "stage_6_s": Rate(36 / 40_000, "docs/data.md", "all features read | 40000 | 711 | 21 | 36 |"),
    "stage_3_cpu_s_per_h": Rate(
        37.6 / 9.7, "docs/data.md", "rnnt, 2 jobs, 2 cores | 6.4 | 12.5 | 0.71 | 19.5 | 37.6 |"
    ),
    "feature_mb_per_h": Rate(33.0, "docs/data.md", "33 MB of features for an hour"),
    "loader_s_per_s": Rate(13_500, "docs/data.md", "13,500 seconds of audio a second"),
    "plan_s": Rate(8.6 / 10e6, "docs/data.md", "the plan after 8.6 s"),
    "first_s": Rate(10.4 / 10e6, "docs/data.md", "the first micro-batch after 10.4 s"),
    "rank_gb": Rate(0.79, "docs/data.md", "0.79 GB of memory"),
    "bare_rank_gb": Rate(0.51, "docs/data.md", "0.51 GB with 20,000"),
    "step_ms": Rate(338, "docs/gpu.md", "120 utterances, training step | 338 |"),
    "speech_h_per_s": Rate(1.4, "docs/gpu.md", "1.4 hours of speech per second"),
    "parameters": Rate(65_549_011, "docs/models.md", "65,549,011"),
    "average_bytes": Rate(8, "docs/training.md", "a checkpoint larger by 8 bytes per parameter"),
    "notice_s": Rate(10, "docs/training.md", "about ten seconds"),
}
SECONDS = 12.3  # of an utterance of LibriSpeech
FLAC_MB_PER_H = 63.0  # LibriSpeech as it is published: 23 GB for the 363.6 h of train-clean-360
STATE_BYTES = 4 + 8  # of a parameter: the weight, and the two moments of the optimizer
GPU_HOURS_PER_FAILURE = 50_000  # as published of Llama 3: 419 in 54 days of 16,384 GPUs
PREPARATION_CORES = 64
SHARD, ARCHIVE = 1000, 100  # utterances
SAVE_EVERY_N = 1000
SIZES = ((1_000, 8), (10_000, 16), (100_000, 64))  # hours, GPUs


def column(hours: int, gpus: int) -> dict[str, str]:
    """What so many hours need on so many GPUs, by row of the table."""
    rate = {name: r.value for name, r in RATES.items()}
    utterances = hours * 3600 / SECONDS
    epoch_h = hours / (rate["speech_h_per_s"] * gpus) / 3600
    speech_h_per_s = rate["speech_h_per_s"] * gpus
    utterances_per_s = speech_h_per_s * 3600 / SECONDS
    rank_gb = rate["bare_rank_gb"] + (rate["rank_gb"] - rate["bare_rank_gb"]) * utterances / 10e6
    restart_s = rate["notice_s"] + utterances * rate["first_s"]
    lost_s = SAVE_EVERY_N / 2 * rate["step_ms"] / 1000
    checkpoint_gb = rate["parameters"] * (STATE_BYTES + rate["average_bytes"]) / 1e9
    return {
        "utterances": f"{utterances / 1e6:.2f} million",
        "audio as FLAC": size(hours * FLAC_MB_PER_H / 1000),
        "features, stored": size(hours * rate["feature_mb_per_h"] / 1000),
        f"archives of {ARCHIVE}, or shards of {SHARD} utterances": f"{utterances / ARCHIVE:,.0f}, or "
        f"{utterances / SHARD:,.0f}",
        "stage 1, one process": time_of(utterances * rate["import_s"]),
        "stage 3, CPU time": time_of(hours * rate["stage_3_cpu_s_per_h"]),
        f"stage 3 on {PREPARATION_CORES} cores": time_of(hours * rate["stage_3_cpu_s_per_h"] / PREPARATION_CORES),
        "stage 6, one process": time_of(utterances * rate["stage_6_s"]),
        "GPUs (H100)": f"{gpus}",
        "an epoch": time_of(epoch_h * 3600),
        "plan of an epoch, each rank": time_of(utterances * rate["plan_s"]),
        "memory of a rank": size(rank_gb),
        "features read, a second": size(speech_h_per_s * rate["feature_mb_per_h"] / 1000),
        "reads a second, at random places (manifest)": f"{utterances_per_s:,.0f}",
        "shards a second, from end to end": f"{utterances_per_s / SHARD:.1f}",
        "loader processes a GPU, stored features": f"{rate['speech_h_per_s'] * 3600 / rate['loader_s_per_s']:.1f}",
        "cores a GPU, features on the fly": f"{rate['speech_h_per_s'] * rate['stage_3_cpu_s_per_h']:.1f}",
        "gradients that a machine sends, a second": size(2 * 4e-6 * rate["parameters"] / rate["step_ms"]),
        "a checkpoint": size(checkpoint_gb),
        "a lost node: noticed, started again": time_of(restart_s),
        "a lost node: updates to repeat, on average": time_of(lost_s),
        "GPU hours that it costs": f"{gpus * (restart_s + lost_s) / 3600:.1f}",
        "such a loss every": time_of(GPU_HOURS_PER_FAILURE / gpus * 3600),
    }


def size(gigabytes: float) -> str:
    """Two digits or more, with a unit."""
    for factor, unit in ((1e-3, "TB"), (1, "GB"), (1e3, "MB")):
        if gigabytes * factor >= 1 or unit == "MB":
            break
    value = gigabytes * factor
    return f"{value:,.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def time_of(seconds: float) -> str:
    """Two digits or more, with a unit."""
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * length or unit == "s":
            break
    value = seconds / length
    return f"{value:,.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def table() -> str:
    """The table of docs/scale.md."""
    columns = [column(*each) for each in SIZES]
    lines = ["| | " + " | ".join(f"{hours:,} h" for hours, _ in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    lines += [f"| {row} | " + " | ".join(c[row] for c in columns) + " |" for row in columns[0]]
    return "\n".join(lines) + "\n"


@program
def main(argv: list[str] | None = None) -> None:
    make_parser(__doc__).parse_args(argv)
    print(table(), end="")


if __name__ == "__main__":
    main()
