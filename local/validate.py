"""Stage 6: check every utterance, leave out the faulty ones, and measure what remains.

Reads FBANK_DIR/<set>.jsonl.gz, which it does not change. Writes to OUT: <set>.jsonl (the cuts that training and
decoding read), cmvn.json (mean and standard deviation of the training set), features.json, report.txt and report.json
(faults with examples), and of what remains durations, speakers, characters and tokens: statistics.txt,
statistics.json, durations.png, tokens.png, speakers.png and characters.png. When more than --max-drop percent of a set
is faulty, only the report is written and the exit status is 1.
"""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rnnt.cli import program
from rnnt.data.config import read_feature_config
from rnnt.data.validation import Context, Report, Utterance, ValidationConfig, find_fault
from rnnt.errors import UserError
from rnnt.files import atomic_path, atomic_write, read_json, write_json
from rnnt.options import make_parser, option, parse
from rnnt.progress import progress


@dataclass(frozen=True)
class ValidateOptions:
    """Stage 6."""

    sets: list[str] = option(help="names of the sets")
    bpe_model: str = option(help="BPE model (stage 5)")
    fbank_dir: str = option("data/fbank", "folder of the features (stage 3)")
    out: str = option("data/cuts", "folder of the filtered manifests and the reports")
    train_set: str = option("train", "the set that the statistics are taken from")
    max_drop: float = option(5.0, "largest share of faulty utterances of a set, in percent")


def check_set(path, file, context, load, on_good):
    """Check one set; write the lines of the good cuts to `file` and call `on_good` with each good `Utterance`.

    `load(cut)` gives the features of a cut. Returns the `Report`; what stage 3 left out is in it.
    """
    from lhotse.serialization import deserialize_item

    from rnnt.data.chunks import read_left_out
    from rnnt.data.manifest import count_lines, read_items

    report, name = Report(), path.name.removesuffix(".jsonl.gz")
    for fault in read_left_out(path.with_name(name)):
        report.total += 1
        report.add_fault(*fault)
    items = read_items(path, 3, deserialize_item)
    for line, cut in progress(items, total=count_lines(path), what=name, unit="utt"):
        report.total += 1
        utterance = Utterance(cut, load, context.tokenizer.encode)
        fault = find_fault(utterance, context)
        if fault:
            report.add_fault(fault[0], cut.id, fault[1])
            continue
        report.kept += 1
        file.write(line.decode())
        on_good(utterance)
    return report


def write_report(out, reports, config):
    """Write report.txt and report.json; print the former."""
    lines = [line for name, report in reports.items() for line in report.lines(name)]
    with atomic_write(out / "report.txt") as file:
        file.writelines(line + "\n" for line in lines)
    write_json(out / "report.json", {"config": asdict(config), "sets": {n: asdict(r) for n, r in reports.items()}})
    print("\n".join(lines))


def check_reports(reports, options):
    """Raise `UserError` when a set lost too much."""
    for name, report in reports.items():
        if report.dropped_percent > options.max_drop:
            most = max(report.faults, key=lambda fault: report.faults[fault]["count"], default="the set is empty")
            raise UserError(
                f"{name}: {report.dropped_percent:.1f} % of {report.total} utterances are faulty, more than --max-drop "
                f"{options.max_drop:g} %, most often: {most}; see {options.out}/report.txt and mend the data, or raise "
                "--max-drop"
            )


@program
def main(argv=None):
    classes = [ValidateOptions, ValidationConfig]
    (options, config), _ = parse(make_parser(__doc__, *classes), classes, argv)
    from rnnt.data.loading import FeatureLoader
    from rnnt.data.plots import write_plots
    from rnnt.data.set_statistics import SetStatistics, statistics_lines
    from rnnt.data.statistics import FeatureStatistics
    from rnnt.text.tokenizer import Tokenizer

    sets = [name for value in options.sets for name in value.split()]
    if options.train_set not in sets:
        raise UserError(f"--sets: {options.train_set} is missing; the statistics are taken from it")
    fbank_dir, out = Path(options.fbank_dir), Path(options.out)
    stored = read_json(fbank_dir / "features.json")
    features = read_feature_config(fbank_dir / "features.json")
    tokenizer = Tokenizer.load(options.bpe_model)
    feature_statistics = FeatureStatistics()
    reports, statistics = {}, {name: SetStatistics() for name in sets}

    def add(name, utterance):
        cut = utterance.cut
        statistics[name].add(cut.duration, cut.supervisions[0].speaker, utterance.text, utterance.tokens)
        if name == options.train_set:
            feature_statistics.add(utterance.x_TF)

    # The new manifests take the place of the old ones together, and only when all sets are good.
    with ExitStack() as stack:
        for name in sets:
            file = stack.enter_context(atomic_write(out / f"{name}.jsonl"))
            path, context = fbank_dir / f"{name}.jsonl.gz", Context(config, features, tokenizer)
            reports[name] = check_set(path, file, context, FeatureLoader(features).load, partial(add, name))
        write_report(out, reports, config)
        check_reports(reports, options)
        write_json(out / "cmvn.json", feature_statistics.to_dict())
        write_json(out / "features.json", stored)
    lines = statistics_lines(statistics, options.train_set, tokenizer.pieces)
    with atomic_write(out / "statistics.txt") as file:
        file.writelines(line + "\n" for line in lines)
    write_json(out / "statistics.json", {name: s.to_dict(tokenizer.pieces) for name, s in statistics.items()})
    write_plots(statistics, options.train_set, lambda name: atomic_path(out / name))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
