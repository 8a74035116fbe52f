"""Every setting of decode.py that changes what it finds has a folder of its own."""

import dataclasses

import pytest

from rnnt.checkpoints.config import Selection
from rnnt.decoding.settings import parse_settings
from rnnt.errors import UserError
from rnnt.search.config import METHODS, SearchConfig


def folder(*words):
    return str(parse_settings(["--exp-dir", "e", *words]).folder())


def test_names_are_short_and_say_what_differs():
    assert folder() == "e/decode_greedy_search"
    assert folder("--avg", "5", "--max-sym-per-frame", "1") == "e/decode_greedy_search_avg-5_sym-1"
    beams = ("--decoding-method", "modified_beam_search", "--beam-size", "8")
    assert folder(*beams, "--blank-penalty", "0.50") == "e/decode_modified_beam_search_beam-8_blank-penalty-0.5"
    averaged = ("--use-averaged-model", "true", "--use-ema", "false", "--epoch", "30", "--length-norm", "false")
    assert folder(*averaged) == "e/decode_greedy_search_epoch-30_averaged_no-ema"
    # How it runs changes nothing.
    assert folder("--max-duration", "100", "--threads", "3", "--split", "1/2") == "e/decode_greedy_search"


def test_files_are_named_by_their_contents(tmp_path):
    a, b, same = tmp_path / "a" / "3gram.arpa", tmp_path / "b" / "3gram.arpa", tmp_path / "c" / "3gram.arpa"
    for path, text in ((a, "one"), (b, "two"), (same, "one")):
        path.parent.mkdir()
        path.write_text(text)
    names = [folder("--lm", str(path)) for path in (a, b, same)]
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("e/decode_greedy_search_lm-3gram.") and names[0].endswith("-0.3")
    assert folder("--lm", str(a), "--lm-scale", "0.5") != names[0]
    assert len({folder("--lm", str(a), "--lodr-lm", str(b)), folder("--context-file", str(a)), *names}) == 4
    with pytest.raises(UserError, match="none.arpa: can't read it"):
        folder("--lm", str(tmp_path / "none.arpa"))


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_search_and_checkpoints_counts_unless_the_method_ignores_it(method):
    plain = folder("--decoding-method", method)
    for cls in (SearchConfig, Selection):
        for f in dataclasses.fields(cls):
            value = {bool: str(not f.default).lower(), str: "entropy", int: "7", float: "0.7"}[f.type]
            if f.name == "decoding_method":
                continue
            ignored = f.name in METHODS[method].ignores
            other = folder("--decoding-method", method, f"--{f.name.replace('_', '-')}", value)
            assert (other == plain) == ignored, f.name


def test_long_names_are_cut_and_stay_apart():
    words = ["--blank-penalty", "1.23456", "--temperature", "1.23456", "--length-bonus", "1.23456", "--nbest", "3",
             "--decoding-method", "modified_beam_search", "--confidence", "entropy", "--beam-size", "12"]  # fmt: skip
    a, b = folder(*words, "--avg", "10"), folder(*words, "--avg", "11")
    assert a != b and max(map(len, (a, b))) <= 122
