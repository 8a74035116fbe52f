"""The corpus page: measures of sound against signals of which they are known, outliers, texts of two sets."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from rnnt.prepare.corpus_page.measures import OUTLIERS, SECONDS, Example, Extremes, SetMeasures, shared_texts
from rnnt.prepare.corpus_page.page import BINS, Corpus, findings, histogram, page
from rnnt.prepare.corpus_page.sound import measure
from rnnt.prepare.corpus_statistics import SetStatistics
from rnnt.prepare.validation import Report

SINE = np.sin(2 * np.pi * 100 * np.arange(8000) / 8000).astype(np.float32)


@pytest.mark.parametrize(
    "samples, loudness, clipped, silence",
    [
        (0.5 * SINE, 20 * np.log10(0.5) - 3.01, 0.0, 0.0),
        (np.concatenate((0.5 * SINE, 0.0 * SINE)), 20 * np.log10(0.5) - 6.02, 0.0, 50.0),
        (np.concatenate((0.5 * SINE, 0.004 * SINE)), 20 * np.log10(0.5) - 6.02, 0.0, 50.0),  # 42 dB below
        (np.concatenate((0.5 * SINE, 0.006 * SINE)), 20 * np.log10(0.5) - 6.02, 0.0, 0.0),  # 38 dB below
        (np.array([1.0, -1.0] * 20 + [0.0] * 160), -6.99, 20.0, 0.0),
        (np.zeros(8000), -120.0, 0.0, 100.0),
        (np.array([0.1]), -20.0, 0.0, 0.0),
    ],
)
def test_sound(samples, loudness, clipped, silence):
    assert measure(samples, 8000) == pytest.approx((loudness, clipped, silence), abs=0.02)


def test_extremes_are_those_of_all_values():
    values = np.random.default_rng(0).permutation(50).astype(float)
    extremes, made = Extremes(), []
    for value in values:
        extremes.add(value, lambda: made.append(1) or Example(f"u{value:.0f}", "", (), 0.0, value))  # noqa: B023
    assert [v for v, _ in extremes.lowest()] == list(range(OUTLIERS))
    assert [v for v, _ in extremes.highest()] == [49 - i for i in range(OUTLIERS)]
    assert extremes.highest()[0][1].id == "u49" and len(made) < 100


def cut(name, seconds=1.0):
    recording = SimpleNamespace(sources=[SimpleNamespace(type="file", source="audio.wav")])
    return SimpleNamespace(id=name, start=0.0, duration=seconds, has_recording=False, recording=recording)


@pytest.fixture
def corpus(tmp_path):
    """train and test share a text, a speaker and all characters but one."""
    texts = {"train": ["one two", "three <b>", "four"], "test": ["Four", "one two", "six ö", "one two"]}
    speakers = {"train": ["s1", "s2", "s3"], "test": ["s2", None, "s9", "s9"]}
    statistics, measures, reports = {}, {}, {}
    for name, lines in texts.items():
        statistics[name], measures[name], reports[name] = SetStatistics(), SetMeasures(10), Report(total=5, kept=4)
        for i, (text, speaker) in enumerate(zip(lines, speakers[name])):
            statistics[name].add(1.0 + i, speaker, text, [1])
            measures[name].add(cut(f"{name}-{i}", 1.0 + i), text)
        rows = [json.dumps({"supervisions": [{"text": text}]}) + "\n" for text in lines]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
        reports[name].add_fault("too long", f"{name}-9", "31 s")
    return Corpus("train", statistics, measures, reports, shared_texts(measures, "train", tmp_path))


def test_texts_that_training_has_too(corpus):
    assert list(corpus.shared) == ["test"]
    assert (corpus.shared["test"].count, corpus.shared["test"].longest) == (3, ["one two", "Four"])


def test_the_page_says_what_is_worth_a_look(corpus, tmp_path, checked_page):
    found = " ".join(findings(corpus))
    for words in (
        "test: 1 speaker also in train.", "3 utterances of 4 with a text that train has too",
        "does not have: F i s x ö", "test: 1 utterance of 5 left out",
    ):  # fmt: skip
        assert words in found
    text = page(corpus, "Corpus", tmp_path)
    checker = checked_page(text)
    assert checker.fetched == [] and "script" not in checker.tags
    assert checker.tags.count("svg") == 4  # three measures and the speakers; no audio
    assert "three &lt;b&gt;" in text and "train-9: 31 s" in text


def test_the_sample_is_drawn_evenly_and_is_bounded():
    measures = SetMeasures(5)
    for i in range(20):
        measures.add(SimpleNamespace(**{**vars(cut(f"{i}")), "has_recording": True}), "a")
    assert len({c.id for c, _ in measures._sample}) == 5 and len(measures.values[SECONDS]) == 20


def test_a_histogram_holds_every_value():
    outline = histogram(np.array([-50.0, 0.1, 0.1, 99.0]), 0.0, 1.0)
    heights = [y for _, y in outline[1:-1:2]]
    assert len(heights) == BINS and sum(heights) == pytest.approx(100)
    assert heights[0] == 25 and heights[4] == 50 and heights[-1] == 25


@pytest.mark.slow
def test_players_are_seen_on_a_narrow_screen(corpus, tmp_path, monkeypatch, open_tab):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audio.wav").touch()
    (tmp_path / "corpus.html").write_text(page(corpus, "Corpus", tmp_path))
    with open_tab((tmp_path / "corpus.html").as_uri(), tmp_path / "profile") as tab:
        tab.look(400, "light")
        tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.run("Math.min(...[...document.querySelectorAll('audio')].map(a => a.offsetWidth))") > 100
        assert tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
