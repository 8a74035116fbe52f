"""Stages 3 and 4: log-mel filter banks of each set, by kaldifeat where it is installed, else by lhotse.

Reads MANIFEST_DIR/<set>_{recordings,supervisions}.jsonl.gz. Writes OUT/<set>.jsonl.gz (lhotse cuts, one per utterance),
the features in OUT/<set>/ and OUT/features.json. Finished sets are skipped, a stopped set is continued, utterances
that can't be read are reported and left out. With --features onthefly it writes no features: stage 6, training and
decoding compute them from the audio. The front-end is described by --config (see conf/fbank.yaml).

Called as it is, it does all in one process. With --cmd LAUNCHER and --nj N it runs N jobs. They are: first --plan, then
--split 1/N ... --split N/N at the same time, each of which may be repeated alone, then --merge.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.cli import parse_split, program
from rnnt.data.config import FeatureConfig, check_same_features, parse_speeds
from rnnt.errors import UserError, counted
from rnnt.files import read_json, write_json
from rnnt.options import from_dict, make_parser, option, parse, to_dict
from rnnt.prepare.chunks import CHUNK_CUTS, Chunk, FeatureSet, split_of_chunks, stored_inputs
from rnnt.prepare.config import SetOptions, SpeedOptions, resolve_sets, to_arguments
from rnnt.prepare.corpus import manifest_paths
from rnnt.prepare.recipe.jobs import JOB_NUMBER, follow
from rnnt.progress import progress

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class FbankOptions(SpeedOptions, SetOptions):
    """Feature extraction."""

    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    out: str = option("data/fbank", "folder of the features")
    window: float = option(
        0.0,
        "for recordings without transcripts, such as noise: cut them into windows of this many seconds, listed in "
        "OUT/<set>.jsonl, which training reads at random; 0: there are transcripts",
        minimum=0,
    )
    feature_library: str = option("auto", "auto: kaldifeat where installed", choices=["auto", "kaldifeat", "lhotse"])
    device: str = option(
        "auto", "cpu, cuda, or auto: with kaldifeat on a GPU where there is one", choices=["auto", "cpu", "cuda"]
    )
    cmd: str = option("", "launcher of the jobs, with its options, such as run.pl; empty: this process computes all")
    nj: int = option(1, "with --cmd: number of jobs", minimum=1, maximum=10_000)
    plan: bool = option(False, "only list what is to be computed")
    split: str = option("", "K/N: only compute the K-th of N parts of what is planned")
    merge: bool = option(False, "only write the manifests of what is computed")

    def __post_init__(self) -> None:
        if self.plan + bool(self.split) + self.merge + bool(self.cmd) > 1:
            raise ValueError("--plan, --split, --merge and --cmd: give one of them, or none for all in one process")
        parse_split(self.split)
        if self.window and self.perturb_speed:
            raise ValueError("--window and --perturb-speed don't go together")

    @property
    def does_all(self) -> bool:
        """Whether this process plans, computes and merges."""
        return not (self.plan or self.split or self.merge or self.cmd)


def speed_factors(options: FbankOptions) -> list[float]:
    """The factors of the copies of the training set."""
    try:
        return [factor for factor in parse_speeds(" ".join(options.perturb_speed)) if factor != 1]
    except ValueError as error:
        raise UserError(f"--perturb-speed: {error}") from None


def training_set(options: FbankOptions, sets: list[FeatureSet]) -> str:
    """The name of the set that --perturb-speed applies to: by default the first that begins with train, if any."""
    return options.train_set or next((s.name for s in sets if s.name.startswith("train")), "")


def manifests_of(name: str, options: FbankOptions) -> list[Path]:
    """The manifests of a set."""
    paths = manifest_paths(options.manifest_dir, name)[: 1 if options.window else 2]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such manifest; stage {2 if options.window else 1} makes it")
    return paths


def check_other_sets(config: FeatureConfig, done: dict[str, Any], sets: set[str], out: str) -> None:
    """Refuse to put features beside those of another front-end."""
    for name, inputs in done.items():
        if name not in sets:
            location = f"{out}/{name}"
            other = from_dict(FeatureConfig, inputs["features"], location)
            check_same_features(config, other, "the configuration", location)


def plan_sets(sets: list[FeatureSet], config: FeatureConfig, options: FbankOptions) -> None:
    """List the cuts of the sets that aren't finished."""
    from rnnt.data.feature_library import resolve_library

    library = resolve_library(config, options.feature_library)
    if config.is_normalized and options.features == "stored":
        raise UserError(f"{config.frontend} cuts off silence, so its frames can't be stored; give --features onthefly")
    check_other_sets(config, stored_inputs(options.out), {s.name for s in sets}, options.out)
    for feature_set in sets:
        paths = manifests_of(feature_set.name, options)
        inputs = {
            "features": to_dict(config),
            "library": library,
            "manifests": {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in paths},
            "chunk": CHUNK_CUTS,
            "perturb_speed": speed_factors(options) if feature_set.name == training_set(options, sets) else [],
            "window": options.window,
            "stored": options.features,
        }
        if feature_set.is_finished(inputs):
            print(f"{feature_set.name}: already in {feature_set.manifest}")
        elif not feature_set.keep_plan(inputs):
            write_plan(feature_set, paths, inputs, config, options)


def write_plan(
    feature_set: FeatureSet, paths: list[Path], inputs: dict[str, Any], config: FeatureConfig, options: FbankOptions
) -> None:
    """List the cuts of a set, and print what is remarkable about them."""
    from rnnt.prepare.cuts import write_cut_list, write_window_list

    with feature_set.write_cut_list() as file:
        if options.window:
            report = write_window_list(file, paths[0], config.sampling_rate, options.window)
        else:
            report = write_cut_list(file, paths[0], paths[1], config.sampling_rate, inputs["perturb_speed"])
    feature_set.note_plan(inputs, report.cuts, report.without_recording)
    if report.without_recording:
        print(
            f"warning: {paths[1]}: {len(report.without_recording)} supervisions name a recording that is not in "
            f"{paths[0]}; left out"
        )
    if report.rates - {config.sampling_rate}:
        rates = ", ".join(map(str, sorted(report.rates)))
        print(f"{paths[0]}: recordings with {rates} samples/s are resampled to {config.sampling_rate}")


def compute_part(sets: list[FeatureSet], config: FeatureConfig, split: int, num_splits: int, device: str) -> None:
    """Compute the chunks of one split that aren't done."""
    for feature_set in sets:
        if read_json(feature_set.part / "inputs.json")["features"] != to_dict(config):
            raise UserError(f"{feature_set.part}: planned with another front-end; run --plan again")
    todo: list[Chunk] = split_of_chunks(sets, split, num_splits)
    if not todo:
        return
    import torch

    from rnnt.data.fbank import make_extractor, resolve_device
    from rnnt.prepare.extraction import compute_chunk

    torch.set_num_threads(1)  # the matrices are small: more threads cost more than they give
    bar = progress(None, total=sum(chunk.num_cuts for chunk in todo), what="fbank", unit="utt")
    for feature_set in sets:
        library = read_json(feature_set.part / "inputs.json")["library"]
        extractor = make_extractor(config, library, resolve_device(device, library, config))
        for chunk, lines in feature_set.lines_of([chunk for chunk in todo if chunk.set == feature_set]):
            compute_chunk(chunk, lines, extractor, config)
            bar.update(len(lines))
    bar.close()


def run_jobs(options: FbankOptions, config: FeatureConfig) -> None:
    """Run this program with --split as an array of jobs, and show the log of the first."""
    words = ["python3", str(Path(__file__).absolute())]
    words += [*to_arguments(options, leave_out=("cmd", "nj")), *to_arguments(config)]
    log = f"{options.out}/log/fbank.{JOB_NUMBER}.log"
    shown = Path(f"{options.out}/log/fbank.1.log")
    print(f"features: {counted(options.nj, 'job')}, the first is shown: {shown}", flush=True)
    # The last of several --gpu counts, the least of several --num-threads.
    command = [*options.cmd.split(), "--gpu", "0", "--num-threads", "1", f"{JOB_NUMBER}=1:{options.nj}", log]
    status, interrupted = follow(shown, [*command, *words, "--split", f"{JOB_NUMBER}/{options.nj}"])
    if interrupted:
        raise KeyboardInterrupt
    if status:
        raise UserError(f"{options.out}: a job failed (see above); what is done is kept")


def merge_set(feature_set: FeatureSet, options: FbankOptions) -> None:
    """Write the manifest of a set; report what was left out."""
    name, total = feature_set.name, feature_set.num_cuts
    if options.features == "onthefly":
        feature_set.finish_without_features()
        print(f"{name}: {counted(total, 'utterance')} without features in {feature_set.manifest}")
        return
    skipped = feature_set.finish()
    for cut_id, problem in skipped[:SHOWN_FAULTS]:
        print(f"warning: {name}: {cut_id}: {problem}; left out")
    if len(skipped) > SHOWN_FAULTS:
        print(f"warning: {name}: and {len(skipped) - SHOWN_FAULTS} more")
    print(f"{name}: features of {total - len(skipped)} of {counted(total, 'utterance')} in {feature_set.manifest}")


@program
def main(argv: list[str] | None = None) -> None:
    classes = [FbankOptions, FeatureConfig]
    (options, config), _ = parse(make_parser(__doc__, *classes), classes, argv)
    out = Path(options.out)
    suffix = ".jsonl" if options.window else ".jsonl.gz"
    sets = [FeatureSet(out / f"{name}{suffix}") for name in resolve_sets(options, options.manifest_dir)]
    split = parse_split(options.split)
    if options.does_all or options.plan or options.cmd:
        plan_sets(sets, config, options)
    done = stored_inputs(out)
    for feature_set in sets:
        if not feature_set.is_planned() and feature_set.name not in done:
            raise UserError(f"{feature_set.manifest}: not planned; run this with --plan first")
    planned = [feature_set for feature_set in sets if feature_set.is_planned()]
    if options.features == "stored" and (options.does_all or options.split):
        compute_part(planned, config, *split, options.device)
    elif options.features == "stored" and options.cmd:
        run_jobs(options, config)
    if options.does_all or options.merge or options.cmd:
        for feature_set in planned:
            merge_set(feature_set, options)
        library = stored_inputs(out)[sets[0].name]["library"]
        write_json(out / "features.json", {**to_dict(config), "computed_by": library})


if __name__ == "__main__":
    main()
