import numpy as np
import pytest

from rnnt.scoring import score
from rnnt.scoring.bootstrap import compare, wer_interval


def make(error_rate, n=200, seed=0, speakers=0):
    """A report of n utterances of 10 words, each of which is wrong with the given probability."""
    rng = np.random.default_rng(seed)
    refs = {f"u{i:03}": "a b c d e f g h i j" for i in range(n)}
    hyps = {key: " ".join("x" if rng.random() < error_rate else w for w in text.split()) for key, text in refs.items()}
    return score(refs, hyps, speakers={f"u{i:03}": f"s{i % speakers}" for i in range(n)} if speakers else None)


def test_interval_agrees_with_the_binomial_one():
    report = make(0.2)
    interval = wer_interval(report)
    assert interval.groups == 200 and interval.low < report.wer < interval.high
    expected = 1.96 * 100 * np.sqrt(0.2 * 0.8 / 2000)
    assert interval.high - interval.low == pytest.approx(2 * expected, rel=0.25)


def test_speakers_are_drawn_whole_where_there_are_enough():
    """All errors in one speaker of five: drawing speakers gives a far wider interval than drawing utterances."""
    refs = {f"u{i}": "a b" for i in range(40)}
    hyps = {key: "x y" if i % 5 == 0 else "a b" for i, key in enumerate(refs)}
    alone, by_speaker, too_few = (
        wer_interval(score(refs, hyps, speakers={key: f"s{i % n}" for i, key in enumerate(refs)} if n else None))
        for n in (0, 5, 4)
    )
    assert (by_speaker.groups, by_speaker.drawn, by_speaker.low) == (5, "speakers", 0.0)
    assert by_speaker.high - by_speaker.low > 2 * (alone.high - alone.low)
    assert too_few == alone and alone.drawn == "utterances"


def test_same_seed_same_interval():
    assert wer_interval(make(0.1)) == wer_interval(make(0.1))


def test_comparison_sees_a_clear_and_no_difference():
    a, b = make(0.3, seed=1), make(0.2, seed=2)
    clear = compare(a, b)
    assert clear.improvement > 0.99 and clear.interval.high < 0 and clear.difference == pytest.approx(b.wer - a.wer)
    none = compare(a, a)
    assert none.improvement == 0.5 and none.interval.low == none.interval.high == none.difference == 0.0


def test_pairing_narrows_the_interval():
    """B makes the errors of A and a few more: paired, that is certain though the rates' own intervals overlap."""
    a = make(0.3, seed=1)
    hyps = {key: text.replace("a", "x", 1) if i % 20 == 0 else text for i, (key, text) in enumerate(a.hyps.items())}
    b = score(a.refs, hyps)
    assert wer_interval(a).high > wer_interval(b).low and compare(a, b).interval.low > 0


def test_different_utterances_are_refused():
    with pytest.raises(ValueError, match="same utterances"):
        compare(make(0.1, n=5), make(0.1, n=6))


def test_no_utterances():
    empty = score({}, {})
    assert wer_interval(empty).groups == 0 and compare(empty, empty).improvement == 0.5
