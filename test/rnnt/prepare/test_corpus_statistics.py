import tracemalloc
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnt.prepare.corpus_statistics import SetStatistics, statistics_lines
from rnnt.prepare.plots import write_plots
from rnnt.prepare.validation import RULES, RuleInputs, Utterance, ValidationConfig

NAMES = ["<blk>", "<unk>", "a", "b", "c"]


@pytest.fixture
def sets():
    train, dev = SetStatistics(), SetStatistics()
    train.add(3600.0, "s1", "ab a", [2, 3, 2])
    train.add(1800.0, "s2", "\u6c14", [4])
    train.add(1800.0, "s1", "a", [2])
    dev.add(1.5, None, "ab", [2, 3])
    return {"train": train, "dev": dev, "none": SetStatistics()}


def test_numbers_for_json(sets):
    found = sets["train"].to_dict(NAMES)
    assert (found["utterances"], found["hours"]) == (3, 2.0)
    assert found["speakers"] == {"s1": {"utterances": 2, "hours": 1.5}, "s2": {"utterances": 1, "hours": 0.5}}
    assert found["characters"] == {"a": 3, "b": 1, "\u6c14": 1} and found["tokens"] == {"a": 3, "b": 1, "c": 1}
    percentiles = found["percentiles"]
    assert percentiles["seconds per utterance"]["100"] == 3600.0 and percentiles["tokens per utterance"]["50"] == 1.0
    assert sets["dev"].to_dict(NAMES)["percentiles"]["tokens per second"]["0"] == 1.333
    assert sets["none"].to_dict(NAMES)["percentiles"] == {}


def test_lines(sets):
    lines = statistics_lines(sets, "train", NAMES)
    assert lines[1].split() == ["train", "3", "2.00", "2", "3", "5"]
    # An unknown speaker is not counted.
    assert lines[2].split() == ["dev", "1", "0.00", "0", "2", "2"]
    assert lines[3].split()[:2] == ["none", "0"]
    assert sum("percentiles" in line for line in lines) == 3
    assert lines[-2] == "characters of train: a 3, b 1, \u6c14 1"
    assert lines[-1].endswith("special ones counted: 2 of 5")


def test_about_a_hundred_bytes_per_utterance():
    """What stage 6 keeps of each: the hash of its id, its duration and its number of tokens."""
    number = 50_000
    ids = {f"speaker-{i:07d}-chapter" for i in range(number)}
    context = RuleInputs(ValidationConfig(), None, None)
    statistics = SetStatistics()
    tracemalloc.start()
    for key in ids:
        assert RULES["duplicate id"](Utterance(SimpleNamespace(id=key), None, None), context) is None
        statistics.add(2.0, f"s{hash(key) % 100}", "a b", [2, 3])
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used / number < 120


def test_pictures(sets, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_plots(sets, "train", tmp_path)
    found = sorted(path.name for path in Path(tmp_path).iterdir())
    assert found == ["characters.png", "durations.png", "speakers.png", "tokens.png"]
    for name in found:
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
