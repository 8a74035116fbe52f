"""Stage 2 of run.sh: decodes sets with each decoding method, through a launcher, unless it is done.

Calls decode.py once for each method, or as an array of --decode-nj jobs that divide each set, and once more to score
their shards. Results that are newer than the model and made with the same options are kept.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.decoding.settings import parse_settings
from rnnt.errors import UserError, counted
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import RunDecodingOptions, num_cores, read_set_names
from rnnt.prepare.recipe.jobs import JOB_NUMBER, follow, threads_per_job
from rnnt.prepare.recipe.stages import is_decoded, mark_done, work_key


@dataclass(frozen=True)
class DecodingOptions(RunDecodingOptions):
    """Decoding."""

    exp_dir: str = option("exp/train", "folder of the model and of the results")
    manifest_dir: str = option("data/manifests", "folder of the list of sets (stage 1)")
    cuts_dir: str = option("data/cuts", "folder of the cuts (stage 6)")
    cmd: str = option("run.pl", "launcher of the jobs, with its options")


def run_job(options: DecodingOptions, shown: Path, arguments: list[str], failure: str) -> None:
    """Run jobs through the launcher, whose arguments are given, and show the log of the first."""
    status, interrupted = follow(shown, [*options.cmd.split(), *arguments])
    if interrupted:
        raise KeyboardInterrupt
    if status:
        raise UserError(failure)


def decode(method: str, sets: list[str], options: DecodingOptions) -> None:
    """Decode all sets with one method."""
    logs = Path(options.exp_dir) / "log"
    command = ["decode.py", "--exp-dir", options.exp_dir, "--manifest-dir", options.cuts_dir, "--decode-sets", *sets]
    command += ["--decoding-method", method, "--beam-size", str(options.beam_size), *options.decode_opts.split()]
    folder = parse_settings(command[1:]).folder()
    key = work_key(command)
    if not options.force and is_decoded(folder, sets, key):
        print(f"decoding: {method}: newer than the model, kept", flush=True)
        return
    merge = []
    number = options.decode_nj
    if number > 1:
        if options.force:
            for shards in folder.glob("*/parts"):
                shutil.rmtree(shards)
        threads = threads_per_job(options.cmd, number, num_cores())
        job_options = ["--threads", str(threads)] if threads else []
        shown = logs / f"{folder.name}.1.log"
        print(f"decoding: {method}: {counted(number, 'job')}, the first is shown: {shown}", flush=True)
        failure = f"decoding: {method}: a job failed (see above); call again: the shards that are done are kept"
        array = [f"{JOB_NUMBER}=1:{number}", str(logs / f"{folder.name}.{JOB_NUMBER}.log")]
        run_job(options, shown, [*array, *command, *job_options, "--split", f"{JOB_NUMBER}/{number}"], failure)
        merge = ["--merge", str(number)]
    log = logs / f"{folder.name}.log"
    print(f"decoding: {method}: {log}", flush=True)
    run_job(options, log, [str(log), *command, *merge], f"decoding: {method}: failed (see above); call again")
    mark_done(folder / ".done", key)


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, DecodingOptions), [DecodingOptions], argv)
    sets = options.decode_sets
    if not sets:
        sets = [name for name in read_set_names(options.manifest_dir) if not name.startswith("train")]
    for method in options.decode_methods:
        decode(method, sets, options)


if __name__ == "__main__":
    main()
