import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, RecordingSet, SupervisionSet
from lhotse.qa import validate_recordings_and_supervisions

from rnnt.data.audio import write_audio

SPEAKERS = ["anna", "theo", "zoe"]
FEW = ["--num-test", "8", "--num-dev", "6", "--num-train", "20", "--num-train-short", "10", "--num-newspeaker", "5"]


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """data/corpus with made recordings: for each digit and speaker 0, 5, 10 and 11; the speaker's own loudness."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "recordings"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in (0, 5, 10, 11):
                samples = 0.1 * generator.standard_normal(1600 + 50 * digit + index)
                write_audio(folder / f"{digit}_{speaker}_{index}.wav", samples.astype(np.float32), 8000)
    Path("data/corpus").mkdir(parents=True)
    source = {"kind": "folder", "path": str(folder), "held_out_speakers": ["theo"]}
    Path("data/corpus/source.json").write_text(json.dumps(source))
    return folder


@pytest.fixture
def make_manifests(recipe_program):
    return recipe_program("digits", "make_manifests")


def read(name, folder="data/manifests"):
    recordings = RecordingSet.from_file(f"{folder}/{name}_recordings.jsonl.gz")
    supervisions = SupervisionSet.from_file(f"{folder}/{name}_supervisions.jsonl.gz")
    return recordings, supervisions


def parts_of(supervisions):
    return [tuple(part.split("_")) for s in supervisions for part in s.custom["parts"]]


SETS = {"test": 8, "dev": 6, "train": 30, "test-newspeaker": 5}


def test_sets_hold_what_they_should(corpus, make_manifests):
    make_manifests.main(FEW)
    indices = {"test": {"0"}, "dev": {"5"}, "train": {"10", "11"}, "test-newspeaker": {"0", "5", "10", "11"}}
    for name, number in SETS.items():
        recordings, supervisions = read(name)
        validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
        assert len(recordings) == len(supervisions) == number
        parts = parts_of(supervisions)
        assert {index for _, _, index in parts} <= indices[name]
        assert {s for _, s, _ in parts} == ({"theo"} if name == "test-newspeaker" else {"anna", "zoe"})
        for supervision in supervisions:
            of_one = [part.split("_") for part in supervision.custom["parts"]]
            assert {speaker for _, speaker, _ in of_one} == {supervision.speaker}
            assert supervision.text == " ".join(make_manifests.WORDS[int(digit)] for digit, _, _ in of_one)
    lengths = Counter(len(s.text.split()) for s in read("train")[1])
    assert sum(lengths[n] for n in (1, 2)) == 10 and set(lengths) <= set(range(1, 8))
    assert all(3 <= len(s.text.split()) <= 7 for name in ("test", "dev", "test-newspeaker") for s in read(name)[1])


def test_each_recording_is_used_equally_often(corpus, make_manifests):
    make_manifests.main([*FEW, "--num-train", "100"])
    counts = Counter(parts_of(read("train")[1]))
    assert len(counts) == 40
    by_speaker = {s: [n for part, n in counts.items() if part[1] == s] for s in ("anna", "zoe")}
    assert all(max(numbers) - min(numbers) <= 1 for numbers in by_speaker.values())


def test_audio_is_the_recordings_between_gaps(corpus, make_manifests):
    recordings, _ = make_manifests.read_recordings(corpus)
    plan = make_manifests.Plan("x", "anna", ((7, "anna", 0), (2, "anna", 5)), (400, 800, 1200))
    samples = make_manifests.render(plan, recordings)
    first, second = (recordings[key].load_audio()[0] for key in plan.parts)
    assert len(samples) == 400 + len(first) + 800 + len(second) + 1200
    joined = np.concatenate([np.zeros(400), first, np.zeros(800), second, np.zeros(1200)])
    noise = samples - joined
    level = np.sqrt(np.mean(joined**2))
    assert 20 * np.log10(noise.std() / level) == pytest.approx(make_manifests.NOISE_DB, abs=0.5)
    assert np.all(samples[:400] != 0)


def test_the_same_seed_gives_the_same_samples(corpus, make_manifests):
    for i, seed in enumerate((1, 1, 2)):
        make_manifests.main([*FEW, "--seed", str(seed), "--out", f"m{i}", "--audio-dir", f"a{i}"])
    files = [{p.name: p.read_bytes() for p in Path(f"a{i}/test").iterdir()} for i in range(3)]
    assert files[0] == files[1] and files[0] != files[2]


def test_manifests_have_relative_paths_and_make_cuts(corpus, make_manifests):
    make_manifests.main(FEW)
    recordings, supervisions = read("dev")
    assert all(r.sources[0].source.startswith("data/audio/dev/") for r in recordings)
    for cut in CutSet.from_manifests(recordings=recordings, supervisions=supervisions):
        assert cut.load_audio().shape == (1, cut.num_samples)
        assert cut.supervisions[0].duration == cut.duration
    assert not [name for name in os.listdir("data/audio") if name.startswith(".")]


def test_unreadable_recordings_are_named_and_left_out(corpus, make_manifests, capsys):
    truncated = corpus / "3_anna_0.wav"
    truncated.write_bytes(truncated.read_bytes()[:1000])
    (corpus / "4_anna_0.wav").write_bytes(b"RIFF")
    write_audio(corpus / "5_anna_0.wav", np.zeros(2000, dtype=np.float32), 16000)
    write_audio(corpus / "noise.wav", np.zeros(2000, dtype=np.float32), 8000)
    make_manifests.main([*FEW, "--num-test", "40"])
    printed = capsys.readouterr().out
    assert f"warning: {truncated}: truncated, 956 of 3500 bytes; left out" in printed
    assert "4_anna_0.wav: unreadable" in printed
    assert "5_anna_0.wav: 16000 samples/s, 1 channels; expected 8000, 1" in printed
    assert "noise.wav: its name is not <digit>_<speaker>_<index>.wav" in printed
    used = {digit for digit, speaker, _ in parts_of(read("test")[1]) if speaker == "anna"}
    assert used == set("0126789")


def fails(make_manifests, capsys):
    with pytest.raises(SystemExit) as error:
        make_manifests.main(FEW)
    assert error.value.code == 1
    return capsys.readouterr().err


def test_too_many_unreadable_recordings_are_fatal(corpus, make_manifests, capsys):
    for path in corpus.glob("*_anna_5.wav"):
        path.write_bytes(b"")
    message = fails(make_manifests, capsys)
    assert "10 of 120 recordings can't be used, more than 5 %, such as " in message
    assert not os.path.exists("data/manifests")


def test_missing_corpus_and_missing_parts_are_one_line(corpus, make_manifests, capsys):
    for path in corpus.glob("*_5.wav"):
        path.unlink()
    assert "dev: the corpus has no recording for this set" in fails(make_manifests, capsys)
    for path in corpus.glob("*.wav"):
        path.unlink()
    assert "no recordings; run stage 0 again" in fails(make_manifests, capsys)
    os.remove("data/corpus/source.json")
    assert "data/corpus/source.json: no such file" in fails(make_manifests, capsys)


def test_real_recordings(tmp_path, monkeypatch, make_manifests):
    """A handful of utterances of the real corpus; the plan of the test set must never change."""
    if not os.environ.get("RNNT_TEST_DATA"):
        pytest.skip("RNNT_TEST_DATA is not set")
    recordings, faults = make_manifests.read_recordings(Path(os.environ["RNNT_TEST_DATA"]) / "fsdd" / "recordings")
    assert len(recordings) == 3000 and not faults
    plans = make_manifests.plan_all(list(recordings), {"theo"}, make_manifests.ManifestOptions())
    assert {name: len(plan) for name, plan in plans.items()} == {
        "train": 5000, "dev": 150, "test": 300, "test-newspeaker": 200,
    }  # fmt: skip
    first = plans["test"][0]
    assert first.id == "george-test-0000"
    assert first.parts == ((4, "george", 4), (2, "george", 4), (9, "george", 4))
    assert first.gaps == (1055, 1432, 745, 1396)
    samples = make_manifests.render(first, recordings)
    assert len(samples) == sum(recordings[key].num_samples for key in first.parts) + sum(first.gaps)
