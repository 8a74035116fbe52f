"""Print a table of MLPerf runs: time to the target, epochs, WER and utterances per second over all processes.

    results.py exp/results/result_*.txt

With three runs or more the result of the benchmark is printed too: the mean time without the best and the worst.
"""

import json
from dataclasses import dataclass

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser

PREFIX = ":::MLLOG "


@dataclass(frozen=True)
class Run:
    """What one log says; `minutes` from the first utterance to the end."""

    path: str
    seed: int
    ranks: int
    global_batch: int
    precision: str
    status: str
    epochs: int
    wer: float  # percent, of the last evaluation
    throughput: float  # utterances per second, mean over the epochs
    minutes: float
    synthetic: bool


def read_run(path: str) -> Run:
    """The `Run` of a log; `UserError` on a log without an end."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            records = [json.loads(line[line.index(PREFIX) + len(PREFIX) :]) for line in file if PREFIX in line]
        times = {r["key"]: r["time_ms"] for r in records}
        values = {r["key"]: r["value"] for r in records}
        speeds = [r["value"]["throughput"] for r in records if r["key"] == "tracked_stats"]
        return Run(
            path=path,
            seed=values["seed"],
            ranks=values["number_of_ranks"],
            global_batch=values["global_batch_size"],
            precision=values["precision"],
            status=next(r["metadata"]["status"] for r in records if r["key"] == "run_stop"),
            epochs=sum(r["key"] == "eval_accuracy" for r in records),
            wer=100 * values["eval_accuracy"],
            throughput=sum(speeds) / len(speeds),
            minutes=(times["run_stop"] - times["run_start"]) / 60_000,
            synthetic=values["data_synthetic"],
        )
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}") from None
    except (ValueError, KeyError, StopIteration, ZeroDivisionError):
        raise UserError(f"{path}: no MLPerf log of a run that ended; look at what the training said in it") from None


def result(runs: list[Run]) -> float | None:
    """Mean minutes of the successful runs without the best and the worst.

    One run that missed the target may count as the worst.

    Returns:
        None where fewer than three runs or too few successes leave nothing.
    """
    times = sorted(run.minutes if run.status == "success" else float("inf") for run in runs)
    kept = times[1:-1]
    return sum(kept) / len(kept) if kept and kept[-1] < float("inf") else None


def table(runs: list[Run]) -> list[str]:
    """The table, one string per line."""
    head = f"{'processes':>9} {'precision':>9} {'batch':>6} {'utt/s':>9} {'WER':>7} {'epochs':>6} {'minutes':>8}"
    lines = [f"{head} {'status':>8} {'seed':>10}  log"]
    for run in runs:
        lines.append(
            f"{run.ranks:9d} {run.precision:>9} {run.global_batch:6d} {run.throughput:9.1f} {run.wer:6.2f}% "
            f"{run.epochs:6d} {run.minutes:8.2f} {run.status:>8} {run.seed:10d}  {run.path}"
        )
    minutes = result(runs)
    if minutes is not None:
        lines.append(f"mean of {len(runs)} runs without the best and the worst: {minutes:.2f} minutes")
    if any(run.synthetic for run in runs):
        lines.append("NOTICE: synthetic data: these word error rates say nothing about speech.")
    return lines


@program
def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("logs", nargs="+", metavar="LOG", help="output of a run")
    print("\n".join(table([read_run(path) for path in parser.parse_args(argv).logs])))


if __name__ == "__main__":
    main()
