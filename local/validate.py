"""Stage 6: check every utterance, leave out the faulty ones, and measure what remains.

Reads FBANK_DIR/<set>.jsonl.gz, which it does not change. Writes to OUT: <set>.jsonl (the cuts that training and
decoding read; blanks of their texts are single spaces), cmvn.json (mean and standard deviation of the training set),
features.json, left_out.json (how many utterances of each set are left out and why: decode.py repeats it), report.txt
and report.json (faults with examples), and of what remains durations, speakers, characters and tokens: statistics.txt,
statistics.json, durations.png, tokens.png, speakers.png and characters.png, and all of it with loudness, clipping,
silence and outliers to listen to on one page, corpus.html. When more than --max-drop percent of a set
is faulty, only the report is written and the exit status is 1.

The training set, and sets whose names begin with train, are held to all rules. The others keep what has audio and a
reference, whether a model can get it right or not; what training would leave out of them is in the report.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnt.cli import program
from rnnt.data.config import FeatureConfig, read_feature_config
from rnnt.errors import UserError
from rnnt.files import atomic_write, read_json, write_json
from rnnt.options import make_parser, option, parse
from rnnt.prepare.config import SetOptions, ValidationConfig, first_set, resolve_sets
from rnnt.prepare.validation import Report, RuleInputs, Utterance, find_fault, find_remarks
from rnnt.progress import progress


@dataclass(frozen=True, kw_only=True)
class ValidateOptions(SetOptions):
    """Stage 6."""

    bpe_model: str = option(help="BPE model (stage 5)")
    manifest_dir: str = option("data/manifests", "folder of the list of sets (stage 1)")
    fbank_dir: str = option("data/fbank", "folder of the features (stage 3)")
    out: str = option("data/cuts", "folder of the filtered manifests and the reports")
    max_drop: float = option(5.0, "largest fraction of faulty utterances of a set, in percent", minimum=0, maximum=100)


class SetCheck:
    """The check of one set, in one pass.

    Args:
        path: manifest of stage 3.
        inputs: what the rules know.

    Attributes:
        report: complete after the pass; what stage 3 left out is in it.
    """

    def __init__(self, path: Path, inputs: RuleInputs) -> None:
        self._path, self._inputs = path, inputs
        self.report = Report()

    def good_utterances(self) -> Iterator[tuple[bytes, Utterance]]:
        """Yield `(line of the manifest, utterance)` of what passes the rules."""
        from lhotse.serialization import deserialize_item

        from rnnt.data.feature_loader import FeatureLoader
        from rnnt.data.manifest import count_lines, read_items
        from rnnt.prepare.chunks import read_left_out

        name = self._path.name.removesuffix(".jsonl.gz")
        for fault in read_left_out(self._path.with_name(name)):
            self.report.total += 1
            self.report.add_fault(*fault)
        load = FeatureLoader(self._inputs.features).load
        items = read_items(self._path, 3, deserialize_item)
        for line, cut in progress(items, total=count_lines(self._path), what=name, unit="utt"):
            self.report.total += 1
            utterance = Utterance(cut, load, self._inputs.tokenizer.encode)
            found = find_fault(utterance, self._inputs)
            if found:
                self.report.add_fault(found[0], cut.id, found[1])
                continue
            self.report.kept += 1
            for name_of_remark, text in find_remarks(utterance, self._inputs):
                self.report.add_remark(name_of_remark, cut.id, text)
            yield line if cut.supervisions[0].text == utterance.text else with_text(line, utterance.text), utterance


def with_text(line: bytes, text: str) -> bytes:
    """The line of a cut with another text."""
    cut = json.loads(line)
    cut["supervisions"][0]["text"] = text
    return json.dumps(cut, ensure_ascii=False).encode() + b"\n"


def write_report(out: Path, reports: dict[str, Report], config: ValidationConfig) -> None:
    """Write report.txt and report.json; print the former."""
    lines = [line for name, report in reports.items() for line in report.lines(name)]
    with atomic_write(out / "report.txt") as file:
        file.writelines(line + "\n" for line in lines)
    write_json(out / "report.json", {"config": asdict(config), "sets": {n: asdict(r) for n, r in reports.items()}})
    print("\n".join(lines))


def check_reports(reports: dict[str, Report], options: ValidateOptions) -> None:
    """Raise `UserError` when a set lost too much."""
    for name, report in reports.items():
        if report.dropped_percent > options.max_drop:
            most = max(report.faults, key=lambda fault: report.faults[fault]["count"], default="the set is empty")
            raise UserError(
                f"{name}: {report.dropped_percent:.1f} % of {report.total} utterances are faulty, more than --max-drop "
                f"{options.max_drop:g} %, most often: {most}; see {options.out}/report.txt and fix the data, or raise "
                "--max-drop"
            )


def check_sets(
    sets: list[str],
    train_set: str,
    options: ValidateOptions,
    config: ValidationConfig,
    features: FeatureConfig,
    tokenizer: Any,
) -> Any:
    """Write the filtered manifests, the reports, and mean and standard deviation of the training set.

    Returns:
        The `Corpus` that remains.
    """
    from rnnt.prepare.cmvn import FeatureStatistics
    from rnnt.prepare.corpus_page.measures import SetMeasures, shared_texts
    from rnnt.prepare.corpus_page.page import Corpus
    from rnnt.prepare.corpus_statistics import SetStatistics

    fbank_dir, out = Path(options.fbank_dir), Path(options.out)
    stored = read_json(fbank_dir / "features.json")
    feature_statistics = FeatureStatistics()
    reports, statistics = {}, {name: SetStatistics() for name in sets}
    measures = {name: SetMeasures(config.audio_sample) for name in sets}
    # The new manifests take the place of the old ones together, and only when all sets are good.
    with ExitStack() as stack:
        for name in sets:
            file = stack.enter_context(atomic_write(out / f"{name}.jsonl"))
            inputs = RuleInputs(config, features, tokenizer, name == train_set or name.startswith("train"))
            check = SetCheck(fbank_dir / f"{name}.jsonl.gz", inputs)
            for line, utterance in check.good_utterances():
                file.write(line.decode())
                cut = utterance.cut
                statistics[name].add(cut.duration, cut.supervisions[0].speaker, utterance.text, utterance.tokens)
                measures[name].add(cut, utterance.text)
                if name == train_set:
                    feature_statistics.add(utterance.x_TF)
            reports[name] = check.report
        write_report(out, reports, config)
        check_reports(reports, options)
        write_json(out / "cmvn.json", feature_statistics.to_dict())
        write_json(out / "features.json", stored)
        write_json(out / "left_out.json", {name: report.left_out for name, report in reports.items()})
    for name in sets:
        measures[name].measure_audio(features)
    return Corpus(train_set, statistics, measures, reports, shared_texts(measures, train_set, out))


@program
def main(argv: list[str] | None = None) -> None:
    classes = [ValidateOptions, ValidationConfig]
    (options, config), _ = parse(make_parser(__doc__, *classes), classes, argv)
    from rnnt.prepare.corpus_page.page import page
    from rnnt.prepare.corpus_statistics import statistics_lines
    from rnnt.prepare.plots import write_plots
    from rnnt.text.tokenizer import Tokenizer

    sets = resolve_sets(options, options.manifest_dir)
    train_set = options.train_set or first_set("train", sets)
    if train_set not in sets:
        raise UserError(f"--sets: {train_set} is missing; the statistics are taken from it")
    out = Path(options.out)
    features = read_feature_config(Path(options.fbank_dir) / "features.json")
    tokenizer = Tokenizer.load(options.bpe_model)
    corpus = check_sets(sets, train_set, options, config, features, tokenizer)
    statistics = corpus.statistics
    lines = statistics_lines(statistics, train_set, tokenizer.tokens)
    with atomic_write(out / "statistics.txt") as file:
        file.writelines(line + "\n" for line in lines)
    write_json(out / "statistics.json", {name: s.to_dict(tokenizer.tokens) for name, s in statistics.items()})
    write_plots(statistics, train_set, out)
    with atomic_write(out / "corpus.html") as file:
        file.write(page(corpus, f"Corpus: {', '.join(sets)}", out))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
