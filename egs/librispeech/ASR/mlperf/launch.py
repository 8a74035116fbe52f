"""Train MLPerf's RNN-T on any number of GPUs: choose the configuration of the global batch and start train.py.

    launch.py --gpus 8 --micro-batch 192                         one machine, 1536 utterances in an update
    launch.py --global-batch 1024 --accumulation 16              one process for each GPU here
    launch.py --gpus 8 --micro-batch 6 --accumulation 8 --recipe-config ../conf/mlperf/1024-reference.yaml
    launch.py --synthetic true --max-updates 20                  speed without the corpus
    srun --ntasks-per-node 8 launch.py --nodes 4 --gpus 8 ...    many machines, see run.sub

Global batch = nodes x GPUs x micro-batch x accumulation. Without a GPU a process of the CPU counts as one.
"""

import os
import secrets
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError
from rnnt.options import make_parser, option, parse
from rnnt.prepare.recipe.facts import read_training_facts

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parent / "conf" / "mlperf"


@dataclass(frozen=True)
class LaunchOptions:
    """Launcher."""

    nodes: int = option(1, "machines", minimum=1)
    gpus: int = option(
        0, "processes on each machine, one for each GPU; 0: as many as there are GPUs here, at least 1", minimum=0
    )
    micro_batch: int = option(0, "utterances of a process at a time; 0: what --global-batch leaves", minimum=0)
    accumulation: int = option(1, "micro-batches of a process that make one update", minimum=1)
    global_batch: int = option(0, "utterances in an update; 0: what the others make", minimum=0)
    precision: str = option(
        "bf16",
        "precision; bf16 and fp16 become --use-bf16 and --use-fp16 of train.py",
        choices=["fp32", "bf16", "fp16"],
    )
    seed: int = option(-1, "seed of the run; -1: one from the system's source of randomness", minimum=-1)
    recipe_config: str = option("", "configuration of another batch (default: conf/mlperf/<global batch>.yaml)")
    exp_dir: str = option("", "folder of the run (default: exp/<global batch>-<precision>-<seed>)")
    data: str = option("data", "folder that prepare.sh made")
    synthetic: bool = option(False, "train on synthetic utterances of the corpus' lengths, without a corpus")
    max_updates: int = option(0, "end after this many updates; 0: at the target", minimum=0)
    division: str = option("closed", "division of the rules, for the log", choices=["closed", "open"])
    train_opts: str = option("", 'more options of train.py, such as "--num-buckets 6 --device cpu"')
    dry_run: bool = option(False, "print the command of the training and stop")


def count_gpus() -> int:
    """Count the GPUs of this machine as nvidia-smi lists them; 0 without it."""
    # utils/launch/gpus.py does so too, but its package can't be imported from here, and torch loads slowly.
    try:
        result = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return 0
    return sum(line.startswith(b"GPU ") for line in result.stdout.splitlines()) if result.returncode == 0 else 0


def split_global_batch(options: LaunchOptions, gpus: int) -> tuple[int, int]:
    """Find the sizes that were left out.

    Args:
        options: nodes, accumulation, and the global batch or the micro-batch.
        gpus: GPUs per machine.

    Returns:
        `(global batch, micro-batch)`.

    Raises:
        UserError: when the numbers don't fit together.
    """
    parts = options.nodes * gpus * options.accumulation
    micro_batch = options.micro_batch or options.global_batch // parts
    total = micro_batch * parts
    if not total:
        raise UserError("give --micro-batch or --global-batch; docs/mlperf.md lists what was used on which machines")
    if options.global_batch and total != options.global_batch:
        raise UserError(
            f"--global-batch {options.global_batch} is not {options.nodes} x {gpus} x {micro_batch} x "
            f"{options.accumulation} (nodes x GPUs x micro-batch x accumulation) = {total}; change one of them"
        )
    return total, micro_batch


def choose_config(global_batch: int, given: str) -> Path:
    """The configuration of a global batch, or the one that was given."""
    path = Path(given) if given else CONFIGS / f"{global_batch}.yaml"
    if not path.is_file():
        sizes = sorted((p.stem for p in CONFIGS.glob("[0-9]*.yaml") if p.stem.isdigit()), key=int)
        raise UserError(
            f"{path}: no such configuration; the global batches that have one are {', '.join(sizes)}; change the "
            "batch or give --recipe-config"
        )
    return path


def num_tokens(config: Path) -> int:
    """SentencePiece tokens of a configuration; blank behind them is not one."""
    facts = read_training_facts(config)
    if facts.vocab_size is None:
        raise UserError(f"{config}: vocab_size is missing; give that of the tokens that prepare.sh made")
    return facts.vocab_size - (facts.blank == "last")


def training_command(
    options: LaunchOptions, config: Path, global_batch: int, micro_batch: int, gpus: int, seed: int
) -> list[str]:
    """The words of the command."""
    exp_dir = options.exp_dir or f"exp/{global_batch}-{options.precision}-{seed}"
    words = [str(HERE / "train.py"), "--config", str(config), "--exp-dir", exp_dir, "--seed", str(seed)]
    words += ["--batch-size", str(micro_batch), "--accum-grad", str(options.accumulation)]
    if options.precision != "fp32":
        words += [f"--use-{options.precision}"]
    if options.synthetic:
        words += ["--synthetic", str(CONFIGS / "synthetic.yaml")]
    else:
        data = options.data
        words += ["--manifest-dir", f"{data}/cuts", "--train-set", "train", "--dev-set", "dev-clean"]
        words += ["--bpe-model", f"{data}/lang_bpe_{num_tokens(config)}/bpe.model"]
    if options.max_updates:
        words += ["--max-updates", str(options.max_updates)]
    if "SLURM_STEP_ID" not in os.environ:  # there the processes exist already
        words += ["--world-size", str(gpus)]
    words += ["--mllog", "--mllog-division", options.division]
    return [sys.executable, *words, *shlex.split(options.train_opts)]


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, LaunchOptions), [LaunchOptions], argv)
    gpus = options.gpus or max(count_gpus(), 1)
    global_batch, micro_batch = split_global_batch(options, gpus)
    config = choose_config(global_batch, options.recipe_config)
    in_step = int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in os.environ
    if options.nodes > 1 and not in_step and not options.dry_run:
        raise UserError("--nodes: processes of several machines are started by srun; see run.sub")
    if in_step and options.seed < 0:
        raise UserError("--seed: all processes need the same; give one")
    seed = options.seed if options.seed >= 0 else secrets.randbelow(1 << 31)
    command = training_command(options, config, global_batch, micro_batch, gpus, seed)
    if os.environ.get("SLURM_PROCID", "0") == "0":
        print(
            f"global batch {global_batch} = {options.nodes} node(s) x {gpus} process(es) x micro-batch {micro_batch} x "
            f"accumulation {options.accumulation}; {options.precision}; seed {seed}; {config}"
        )
        print(" ".join(map(shlex.quote, command)), flush=True)
    if not options.dry_run:
        os.execv(command[0], command)


if __name__ == "__main__":
    main()
