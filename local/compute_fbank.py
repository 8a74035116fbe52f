"""Stages 3 and 4: log-mel filter banks of each set, by kaldifeat where it is installed, else by lhotse.

Reads MANIFEST_DIR/<set>_{recordings,supervisions}.jsonl.gz. Writes OUT/<set>.jsonl.gz (lhotse cuts, one an utterance),
the features in OUT/<set>/ and OUT/features.json. Finished sets are skipped, a stopped set is continued, utterances
that can't be read are reported and left out. With --features onthefly it writes no features: stage 6, training and
decoding compute them from the audio. The front-end is described by --config (see conf/fbank.yaml).
"""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.data.config import FeatureConfig, check_same_features, parse_speeds
from rnnt.errors import UserError
from rnnt.files import write_json
from rnnt.options import from_dict, make_parser, option, parse, to_dict

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
    nj: int = option(1, "worker processes, with one thread each")
    feature_library: str = option("auto", "auto: kaldifeat where installed", choices=["auto", "kaldifeat", "lhotse"])


def words(values):
    """`["a b", "c"]` -> `["a", "b", "c"]`: shell scripts pass lists as one quoted word."""
    return [word for value in values for word in value.split()]


def speed_factors(options):
    try:
        return [factor for factor in parse_speeds(" ".join(options.perturb_speed)) if factor != 1]
    except ValueError as error:
        raise UserError(f"--perturb-speed: {error}") from None


def manifests_of(name, options):
    """The two manifests of a set."""
    paths = [Path(options.manifest_dir) / f"{name}_{kind}.jsonl.gz" for kind in ("recordings", "supervisions")]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such manifest; stage 1 makes it")
    return paths


def read_cuts(paths, sampling_rate, factors):
    """One cut an utterance, named like its supervision, at `sampling_rate`, with copies at other speeds after them."""
    from lhotse import CutSet, RecordingSet, SupervisionSet

    recordings, supervisions = RecordingSet.from_file(paths[0]), SupervisionSet.from_file(paths[1])
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions).to_eager()
    cuts = [piece for cut in cuts for piece in (cut.trim_to_supervisions() if len(cut.supervisions) > 1 else [cut])]
    found = sum(len(cut.supervisions) for cut in cuts)
    missing = len(list(supervisions)) - found
    if missing:
        print(f"warning: {paths[1]}: {missing} supervisions name a recording that is not in {paths[0]}; left out")
    for cut in cuts:
        cut.id = cut.supervisions[0].id if cut.supervisions else cut.recording_id
    rates = {cut.sampling_rate for cut in cuts}
    if rates - {sampling_rate}:
        found_rates = ", ".join(map(str, sorted(rates)))
        print(f"{paths[0]}: recordings with {found_rates} samples/s are resampled to {sampling_rate}")
        cuts = [cut if cut.sampling_rate == sampling_rate else cut.resample(sampling_rate) for cut in cuts]
    return cuts + [cut.perturb_speed(factor) for factor in factors for cut in cuts]


def check_other_sets(config, done, sets, out):
    """Refuse to put features beside those of another front-end."""
    for name, inputs in done.items():
        if name not in sets:
            where = f"{out}/{name}"
            check_same_features(config, from_dict(FeatureConfig, inputs["features"], where), "the configuration", where)


def compute_set(name, config, library, options):
    """Compute one set unless it is there; report what was skipped."""
    from rnnt.data.extraction import extract_set, features_inputs, is_finished, write_without_features

    factors = speed_factors(options) if name == options.train_set else []
    paths = manifests_of(name, options)
    inputs = {**features_inputs(config, library, paths), "perturb_speed": factors, "stored": options.features}
    out = Path(options.out) / f"{name}.jsonl.gz"
    if is_finished(out, inputs):
        print(f"{name}: already in {out}")
        return
    cuts = read_cuts(paths, config.sampling_rate, factors)
    if options.features == "onthefly":
        write_without_features(cuts, out, inputs)
        print(f"{name}: {len(cuts)} utterances without features in {out}")
        return
    skipped = extract_set(cuts, out, config, inputs, library, options.nj)
    for cut_id, problem in skipped[:SHOWN_FAULTS]:
        print(f"warning: {name}: {cut_id}: {problem}; left out")
    if len(skipped) > SHOWN_FAULTS:
        print(f"warning: {name}: and {len(skipped) - SHOWN_FAULTS} more")
    print(f"{name}: features of {len(cuts) - len(skipped)} of {len(cuts)} utterances in {out}")


@program
def main(argv=None):
    classes = [FbankOptions, FeatureConfig]
    (options, config), _ = parse(make_parser(__doc__, *classes), classes, argv)
    import torch

    from rnnt.data.extraction import stored_inputs
    from rnnt.data.features import make_extractor

    torch.set_num_threads(1)  # the matrices are small: more threads cost more than they give
    sets = words(options.sets)
    library = make_extractor(config, options.feature_library).name
    check_other_sets(config, stored_inputs(options.out), sets, options.out)
    for name in sets:
        compute_set(name, config, library, options)
    write_json(Path(options.out) / "features.json", {**to_dict(config), "computed_by": library})


if __name__ == "__main__":
    main()
