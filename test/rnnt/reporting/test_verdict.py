"""The rules on made curves, and on public ones where they are at hand."""

import json
import os
from collections import Counter

import pytest

from rnnt.reporting.verdict import judge_curves

# A public run of MLPerf's RNN-T, dev WER in percent.
PUBLIC = [1029.3, 619.7, 99.4, 100, 100, 100, 100, 98.2, 95.8, 89.1, 72.4, 50.2, 34.5, 25.6, 20.5, 17.3, 15.1, 13.6,
          12.4, 11.5, 10.7, 10.2, 9.8, 9.5, 9.2]  # fmt: skip
FALLING = [60 * 0.9**i + 1 for i in range(40)]


@pytest.mark.parametrize(
    "state, wers, losses",
    [
        ("begun", [], FALLING[:3]),
        ("plateau", [100.0, 100.0], FALLING),
        ("plateau", [350.0], []),
        ("learning", [100.0, 62.0], FALLING),
        ("learning", [80.0], FALLING),
        ("learning", [40.0, 30.0, 22.0, 18.0, 15.0], FALLING),
        ("learning", [10.0, 9.0, 8.9, 9.1, 8.6], FALLING),
        ("settled", [10.0, 8.0, 8.0, 7.9, 8.0], FALLING),
        ("over-fitting", [20.0, 12.0, 10.0, 11.2, 11.4, 11.9], FALLING),
        ("diverged", [20.0, 12.0, 100.0], []),
        ("diverged", [20.0, 12.0], [*FALLING, 10.0, 20.0, 40.0]),
        ("diverged", [], [5.0, 3.0, 2.0, 8.0, 9.0, 9.0]),
    ],
)
def test_made_curves(state, wers, losses):
    verdict = judge_curves(wers, losses)
    assert verdict.state == state, verdict.text


def test_one_bad_batch_is_no_divergence():
    assert judge_curves([30.0, 20.0], [*FALLING[:30], 60.0, *FALLING[30:]]).state == "learning"
    assert judge_curves([30.0, 20.0], [*FALLING, 60.0]).state == "learning"


def test_the_end_is_the_end():
    assert judge_curves([30.0, 20.0], FALLING, epochs=2).state == "done"
    assert judge_curves([30.0, 20.0], FALLING, epochs=3, ended=True).state == "done"
    assert judge_curves([30.0, 20.0], FALLING, epochs=3, ended=False).state == "learning"
    assert judge_curves([30.0, 100.0], FALLING, epochs=2).state == "diverged"


def test_a_public_curve_at_every_epoch():
    states = [judge_curves(PUBLIC[:n]).state for n in range(len(PUBLIC) + 1)]
    assert states == ["begun", *["plateau"] * 9, *["learning"] * 16]


@pytest.mark.skipif("RNNT_TEST_WER_CURVES" not in os.environ, reason="RNNT_TEST_WER_CURVES is not set")
def test_public_curves():
    """Those that ended below 10 % were never called diverged after they had settled, and none is on the plateau."""
    with open(os.environ["RNNT_TEST_WER_CURVES"], encoding="utf-8") as file:
        curves = [[100 * wer for _, wer in curve] for curve in json.load(file).values()]
    good = [curve for curve in curves if len(curve) > 20 and curve[-1] < 10]
    last = Counter(judge_curves(curve).state for curve in good)
    assert last["learning"] + last["settled"] == len(good), last
    on_the_way = Counter(judge_curves(curve[:n]).state for curve in good for n in range(1, len(curve) + 1))
    assert on_the_way["diverged"] + on_the_way["over-fitting"] < 0.01 * sum(on_the_way.values()), on_the_way
