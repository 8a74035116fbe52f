"""Utterances cut in their pauses."""

from types import SimpleNamespace

import numpy as np
import pytest

from rnnt.alignment.shorter import cut_in_pauses, write_shorter
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.search.result import Word


def spoken(text, pauses):
    """Words of 0.5 s that follow each other, but for `pauses`: seconds behind the word with that number."""
    found, at = [], 0.0
    for number, text_word in enumerate(text.split()):
        found.append(Word(text_word, at, at + 0.5, 0.9))
        at += 0.5 + pauses.get(number, 0.0)
    return found, at


def texts(parts):
    return [part.text for part in parts]


def test_the_longest_pause_is_first():
    words, seconds = spoken("a b c d e f g h", {1: 0.2, 3: 0.4, 5: 0.3})
    assert texts(cut_in_pauses(words, seconds, longest=3.0)) == ["a b c d", "e f g h"]
    assert texts(cut_in_pauses(words, seconds, longest=2.0)) == ["a b", "c d", "e f", "g h"]


def test_the_parts_are_all_of_the_utterance_and_its_words():
    words, seconds = spoken("a b c d e f g h", {2: 0.2, 5: 0.4})
    parts = cut_in_pauses(words, seconds, longest=1.5)
    assert [part.start for part in parts] == [0.0, *(part.end for part in parts[:-1])]
    assert parts[-1].end == seconds
    assert " ".join(texts(parts)) == "a b c d e f g h"
    assert parts[0].end == pytest.approx(1.6)  # the middle of the pause


@pytest.mark.parametrize("pauses", [{}, {3: 0.05}, {0: 0.5}], ids=["none", "too short", "too near to the beginning"])
def test_without_a_place_to_cut_an_utterance_stays_whole(pauses):
    words, seconds = spoken("a b c d e f", pauses)
    assert words[0].end + 0.25 < 1.0
    assert texts(cut_in_pauses(words, seconds, longest=1.0)) == ["a b c d e f"]


def test_no_words():
    assert texts(cut_in_pauses([], 3.0, longest=1.0)) == [""]


def test_the_set_of_parts(audio_set, capsys):
    """A manifest with the same audio; what was not aligned stays as it is."""
    manifest = CutManifest(audio_set / "train.jsonl")
    longest = manifest[len(manifest) - 1]
    found = [SimpleNamespace(id=manifest[i].id, words=[]) for i in range(len(manifest))]
    found[-1].words = [Word("one", 0.0, 0.4, 1.0), Word("two", 0.7, longest.duration, 1.0)]
    folder = audio_set / "align_ctc" / "train"
    write_shorter(folder, manifest, found, 0.01, longest=1.0, shortest=0.4)
    assert f"6 utterances cut into {len(manifest) + 1}" in capsys.readouterr().out
    parts = CutManifest(folder / "cuts" / "train.jsonl")
    cuts = [parts[i] for i in range(len(parts))]
    assert [cut.id for cut in cuts[-3:]] == [manifest[4].id, f"{longest.id}-1", f"{longest.id}-2"]
    assert [cut.supervisions[0].text for cut in cuts[-2:]] == ["one", "two"]
    assert cuts[-2].duration == pytest.approx(0.55)
    loader, whole = open_feature_loader(parts), open_feature_loader(manifest).load(longest)
    features = [loader.load(cut) for cut in cuts[-2:]]
    assert abs(sum(map(len, features)) - len(whole)) <= 1
    # Frames far from the cut are those of the whole.
    np.testing.assert_allclose(features[0][:50], whole[:50], atol=1e-3)
