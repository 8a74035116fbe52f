"""Stages 3 and 4: log-mel filter banks of each set, by kaldifeat where it is installed, else by lhotse.

Reads MANIFEST_DIR/<set>_{recordings,supervisions}.jsonl.gz. Writes OUT/<set>.jsonl.gz (lhotse cuts, one an utterance),
the features in OUT/<set>/ and OUT/features.json. Finished sets are skipped, a stopped set is continued, utterances
that can't be read are reported and left out. With --features onthefly it writes no features: stage 6, training and
decoding compute them from the audio. The front-end is described by --config (see conf/fbank.yaml).

Called as it is, it does all in one process. As jobs: first --plan, then --split 1/N ... --split N/N at the same time,
each of which may be repeated alone, then --merge.
"""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.data.config import FeatureConfig, check_same_features, parse_speeds
from rnnt.errors import UserError
from rnnt.files import read_json, write_json
from rnnt.options import from_dict, make_parser, option, parse, to_dict
from rnnt.progress import progress

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class FbankOptions:
    """Feature extraction."""

    sets: list[str] = option(help="names of the sets")
    manifest_dir: str = option("data/manifests", "folder of the manifests (stage 1)")
    out: str = option("data/fbank", "folder of the features")
    features: str = option(
        "stored", "stored: compute them now; onthefly: whenever they are needed", choices=["stored", "onthefly"]
    )
    train_set: str = option("train", "the set that --perturb-speed applies to")
    perturb_speed: list[str] = option([], "speed factors, such as 0.9 1.1: a copy of the training set for each")
    window: float = option(
        0.0,
        "for recordings without transcripts, such as noise: cut them into windows of so many seconds, listed in "
        "OUT/<set>.jsonl, which training reads at random; 0: there are transcripts",
    )
    feature_library: str = option("auto", "auto: kaldifeat where installed", choices=["auto", "kaldifeat", "lhotse"])
    device: str = option(
        "auto", "cpu, cuda, or auto: with kaldifeat on a GPU where there is one", choices=["auto", "cpu", "cuda"]
    )
    plan: bool = option(False, "only list what is to be computed")
    split: str = option("", "K/N: only compute the K-th of N shares of what is planned")
    merge: bool = option(False, "only write the manifests of what is computed")

    def __post_init__(self):
        if self.plan + bool(self.split) + self.merge > 1:
            raise ValueError("--plan, --split and --merge are three steps: give one of them, or none for all")
        if self.window and self.perturb_speed:
            raise ValueError("--window and --perturb-speed don't go together")


def words(values):
    """`["a b", "c"]` -> `["a", "b", "c"]`: shell scripts pass lists as one quoted word."""
    return [word for value in values for word in value.split()]


def speed_factors(options):
    try:
        return [factor for factor in parse_speeds(" ".join(options.perturb_speed)) if factor != 1]
    except ValueError as error:
        raise UserError(f"--perturb-speed: {error}") from None


def parse_split(text):
    """`"2/8"` -> (2, 8)."""
    first, _, last = text.partition("/")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise UserError(f"--split: {text!r} is not K/N with 1 <= K <= N")
    return int(first), int(last)


def manifests_of(name, options):
    """The manifests of a set."""
    kinds = ["recordings"] if options.window else ["recordings", "supervisions"]
    paths = [Path(options.manifest_dir) / f"{name}_{kind}.jsonl.gz" for kind in kinds]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such manifest; stage {2 if options.window else 1} makes it")
    return paths


def check_other_sets(config, done, sets, out):
    """Refuse to put features beside those of another front-end."""
    for name, inputs in done.items():
        if name not in sets:
            where = f"{out}/{name}"
            check_same_features(config, from_dict(FeatureConfig, inputs["features"], where), "the configuration", where)


def plan_sets(sets, config, options):
    """List the cuts of the sets that aren't finished."""
    from rnnt.data.chunks import CHUNK_CUTS, stored_inputs
    from rnnt.data.cut_list import write_cut_list, write_window_list
    from rnnt.data.feature_library import resolve_library

    library = resolve_library(config, options.feature_library)
    if config.is_normalized and options.features == "stored":
        raise UserError(f"{config.frontend} cuts off silence, so its frames can't be stored; give --features onthefly")
    check_other_sets(config, stored_inputs(options.out), {s.name for s in sets}, options.out)
    for feature_set in sets:
        paths = manifests_of(feature_set.name, options)
        factors = speed_factors(options) if feature_set.name == options.train_set else []
        inputs = {
            "features": to_dict(config),
            "library": library,
            "manifests": {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in paths},
            "chunk": CHUNK_CUTS,
            "perturb_speed": factors,
            "window": options.window,
            "stored": options.features,
        }
        if feature_set.is_finished(inputs):
            print(f"{feature_set.name}: already in {feature_set.manifest}")
            continue

        def write(file, feature_set=feature_set, paths=paths, factors=factors):
            if options.window:
                report = write_window_list(file, *paths, config.sampling_rate, options.window)
            else:
                report = write_cut_list(file, *paths, config.sampling_rate, factors)
            tell(report, paths, config.sampling_rate)
            feature_set.note_missing(report.without_recording)
            return report.cuts

        feature_set.plan(inputs, write)


def tell(report, paths, sampling_rate):
    """Print what is remarkable about a list of cuts."""
    if report.without_recording:
        print(
            f"warning: {paths[1]}: {len(report.without_recording)} supervisions name a recording that is not in "
            f"{paths[0]}; left out"
        )
    if report.rates - {sampling_rate}:
        rates = ", ".join(map(str, sorted(report.rates)))
        print(f"{paths[0]}: recordings with {rates} samples/s are resampled to {sampling_rate}")


def compute_share(sets, config, split, num_splits, device):
    """Compute the chunks of one split that aren't done."""
    from rnnt.data.chunks import share

    for feature_set in sets:
        if read_json(feature_set.part / "inputs.json")["features"] != to_dict(config):
            raise UserError(f"{feature_set.part}: planned with another front-end; run --plan again")
    todo = share(sets, split, num_splits)
    if not todo:
        return
    import torch

    from rnnt.data.extraction import compute_chunk
    from rnnt.data.features import make_extractor, resolve_device

    torch.set_num_threads(1)  # the matrices are small: more threads cost more than they give
    bar = progress(None, total=sum(chunk.num_cuts for chunk in todo), what="fbank", unit="utt")
    for feature_set in sets:
        library = read_json(feature_set.part / "inputs.json")["library"]
        extractor = make_extractor(config, library, resolve_device(device, library, config))
        for chunk, lines in feature_set.lines_of([chunk for chunk in todo if chunk.set == feature_set]):
            compute_chunk(chunk, lines, extractor, config)
            bar.update(len(lines))
    bar.close()


def merge_set(feature_set, options):
    """Write the manifest of a set; report what was left out."""
    name, total = feature_set.name, feature_set.num_cuts
    if options.features == "onthefly":
        feature_set.finish_without_features()
        print(f"{name}: {total} utterances without features in {feature_set.manifest}")
        return
    skipped = feature_set.finish()
    for cut_id, problem in skipped[:SHOWN_FAULTS]:
        print(f"warning: {name}: {cut_id}: {problem}; left out")
    if len(skipped) > SHOWN_FAULTS:
        print(f"warning: {name}: and {len(skipped) - SHOWN_FAULTS} more")
    print(f"{name}: features of {total - len(skipped)} of {total} utterances in {feature_set.manifest}")


@program
def main(argv=None):
    classes = [FbankOptions, FeatureConfig]
    (options, config), _ = parse(make_parser(__doc__, *classes), classes, argv)
    from rnnt.data.chunks import FeatureSet, stored_inputs

    out = Path(options.out)
    suffix = ".jsonl" if options.window else ".jsonl.gz"
    sets = [FeatureSet(out / f"{name}{suffix}") for name in words(options.sets)]
    split = parse_split(options.split) if options.split else (1, 1)
    whole = not (options.plan or options.split or options.merge)
    if whole or options.plan:
        plan_sets(sets, config, options)
    done = stored_inputs(out)
    for feature_set in sets:
        if not feature_set.is_planned() and feature_set.name not in done:
            raise UserError(f"{feature_set.manifest}: not planned; run this with --plan first")
    planned = [feature_set for feature_set in sets if feature_set.is_planned()]
    if (whole or options.split) and options.features == "stored":
        compute_share(planned, config, *split, options.device)
    if whole or options.merge:
        for feature_set in planned:
            merge_set(feature_set, options)
        library = stored_inputs(out)[sets[0].name]["library"]
        write_json(out / "features.json", {**to_dict(config), "computed_by": library})


if __name__ == "__main__":
    main()
