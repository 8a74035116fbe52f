"""benchmarks/chance.py: the constant answer, and transcripts that are truly swapped."""

import json
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def chance(load_file):
    return load_file(ROOT / "benchmarks" / "chance.py", "chance")


def cut(name, text):
    return {"id": name, "supervisions": [{"text": text}]}


def test_best_constant_is_the_best_of_its_kind(chance):
    # "a" is wrong once; "a b" three times.
    assert chance.best_constant({"1": "a", "2": "a", "3": "b"}) == "a"
    assert chance.best_constant({"1": "a b c", "2": "a b d", "3": "a b"}) == "a b"


def test_shuffled_texts_are_the_same_ones_at_other_places(chance):
    cuts = [cut(f"{i}{copy}", f"text {i}") for i in range(50) for copy in ("", "_sp0.9", "_sp1.1")]
    before = [json.loads(json.dumps(c)) for c in cuts]
    chance.shuffle(cuts, seed=1)
    texts = [c["supervisions"][0]["text"] for c in cuts]
    assert Counter(texts) == Counter(c["supervisions"][0]["text"] for c in before)
    assert sum(a == b["supervisions"][0]["text"] for a, b in zip(texts, before, strict=True)) < 15
    for i in range(50):
        assert len(set(texts[3 * i : 3 * i + 3])) == 1, "copies at other speeds must keep together"


def test_writes_manifests_and_prints_the_constant(chance, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "cuts"
    folder.mkdir(parents=True)
    lines = {"train": [cut(f"t{i}", f"the word {i}") for i in range(20)], "test": [cut("x", "the other word")]}
    for name, cuts in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cuts))
    (folder / "features.json").write_text("{}")
    chance.main([])
    assert "always answering 'the word 0': WER 66.67 %" in capsys.readouterr().out
    shuffled = tmp_path / "data" / "cuts-shuffled"
    assert (shuffled / "test.jsonl").read_text() == (folder / "test.jsonl").read_text()
    assert (shuffled / "train.jsonl").read_text() != (folder / "train.jsonl").read_text()
    assert sorted(p.name for p in shuffled.iterdir()) == ["features.json", "test.jsonl", "train.jsonl"]
