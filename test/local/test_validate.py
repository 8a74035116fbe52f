import gzip
import json
import os

import numpy as np
import pytest
from lhotse import RecordingSet

from rnnt.data.manifest import CutManifest

ARGS = ["--sets", "train dev", "--bpe-model", "data/lang/bpe.model"]


@pytest.fixture
def stages(recipe, program):
    """The folder as stage 5 leaves it."""
    program("compute_fbank").main(["--sampling-rate", "8000", "--num-mel-bins", "40", "--sets", "train dev"])
    program("train_bpe").main(["--vocab-size", "14", "--out", "data/lang"])
    return recipe


def edit(name, change):
    """Apply `change(number, cut dictionary)` to the lines of a manifest of stage 3."""
    path = f"data/fbank/{name}.jsonl.gz"
    with gzip.open(path, "rt") as file:
        cuts = [json.loads(line) for line in file]
    for number, cut in enumerate(cuts):
        change(number, cut)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(cut) + "\n" for cut in cuts)


def test_good_data_passes_whole(stages, program, capsys, checked_page):
    program("validate").main(ARGS)
    train = CutManifest("data/cuts/train.jsonl")
    assert len(train) == 8 and len(CutManifest("data/cuts/dev.jsonl")) == 3
    frames = np.concatenate([train[i].load_features() for i in range(8)]).astype(np.float64)
    cmvn = json.loads((stages / "data/cuts/cmvn.json").read_text())
    assert cmvn["frames"] == len(frames)
    np.testing.assert_allclose(cmvn["mean"], frames.mean(axis=0))
    np.testing.assert_allclose(cmvn["std"], frames.std(axis=0))
    assert (stages / "data/cuts/features.json").read_text() == (stages / "data/fbank/features.json").read_text()
    for name in ("durations", "tokens", "speakers", "characters"):
        assert (stages / f"data/cuts/{name}.png").read_bytes()[:4] == b"\x89PNG"
    statistics = json.loads((stages / "data/cuts/statistics.json").read_text())
    assert (statistics["train"]["utterances"], statistics["dev"]["utterances"]) == (8, 3)
    assert statistics["train"]["speakers"]["-"]["utterances"] == 8 and set("onetwohr") == set(
        statistics["train"]["characters"]
    )
    assert "tokens per second, percentiles" in (stages / "data/cuts/statistics.txt").read_text()
    checker = checked_page((stages / "data/cuts/corpus.html").read_text())
    assert "train 8 of 8, dev 3 of 3" in checker.text and checker.tags.count("svg") == 6
    assert "../../audio/dev/dev-1.wav#t=0.00,0.51" in checker.fetched
    assert "train: 8 of 8 utterances kept" in capsys.readouterr().out


def test_on_the_fly_cuts_pass_and_give_the_same_statistics(stages, program):
    program("validate").main(ARGS)
    stored = json.loads((stages / "data/cuts/cmvn.json").read_text())
    (stages / "audio/dev/dev-1.wav").write_bytes(b"RIFF")
    fbank = ["--sampling-rate", "8000", "--num-mel-bins", "40", "--sets", "train dev", "--features", "onthefly"]
    program("compute_fbank").main(fbank)
    program("validate").main([*ARGS, "--max-drop", "40"])
    computed = json.loads((stages / "data/cuts/cmvn.json").read_text())
    assert computed["frames"] == stored["frames"]
    np.testing.assert_allclose(computed["mean"], stored["mean"], atol=1 / 32)
    faults = json.loads((stages / "data/cuts/report.json").read_text())["sets"]["dev"]["faults"]
    assert list(faults) == ["unreadable features"]
    assert f"{stages}/audio/dev/dev-1.wav: " in faults["unreadable features"]["examples"][0]["problem"]


def test_what_stage_3_left_out_is_reported(stages, program):
    (stages / "audio/train/train-5.wav").unlink()
    recordings = list(RecordingSet.from_file("data/manifests/train_recordings.jsonl.gz"))
    RecordingSet.from_recordings(recordings[:-1]).to_file("data/manifests/train_recordings.jsonl.gz")
    program("compute_fbank").main(["--sampling-rate", "8000", "--num-mel-bins", "40", "--sets", "train dev"])
    program("validate").main([*ARGS, "--max-drop", "30"])
    report = json.loads((stages / "data/cuts/report.json").read_text())["sets"]["train"]
    assert (report["total"], report["kept"]) == (8, 6)
    (example,) = report["faults"]["unreadable audio"]["examples"]
    assert example["id"] == "utt-train-5" and "train-5.wav: " in example["problem"]
    assert report["faults"]["no audio"]["examples"] == [{"id": "utt-train-7", "problem": "no recording train-7"}]


def test_faults_are_counted_and_left_out(stages, program, capsys):
    def damage(number, cut):
        if number == 1:
            cut["supervisions"][0]["text"] = ""
        if number == 2:
            cut["supervisions"][0]["text"] = "four 4"

    edit("train", damage)
    before = (stages / "data/fbank/train.jsonl.gz").read_bytes()
    program("validate").main([*ARGS, "--max-drop", "25"])
    report = json.loads((stages / "data/cuts/report.json").read_text())["sets"]
    assert report["train"]["kept"] == 6 and report["dev"]["faults"] == {}
    assert {name: fault["count"] for name, fault in report["train"]["faults"].items()} == {
        "empty text": 1,
        "unknown characters": 1,
    }
    assert report["train"]["faults"]["empty text"]["examples"][0]["id"] == "utt-train-1"
    train = CutManifest("data/cuts/train.jsonl")
    assert [train[i].id for i in range(6)] == [f"utt-train-{i}" for i in (0, 3, 4, 5, 6, 7)]
    assert (stages / "data/fbank/train.jsonl.gz").read_bytes() == before
    assert "empty text: 1" in (stages / "data/cuts/report.txt").read_text()


def test_sets_to_be_scored_keep_what_training_leaves_out(stages, program, capsys):
    def damage(number, cut):
        texts = {0: "four 4", 1: "one\u3000two", 2: " ".join(["one two three"] * 50)}
        if number in texts:
            cut["supervisions"][0]["text"] = texts[number]

    for name in ("train", "dev"):
        edit(name, damage)
    program("validate").main([*ARGS, "--max-drop", "30"])
    assert len(CutManifest("data/cuts/train.jsonl")) == 6
    dev = CutManifest("data/cuts/dev.jsonl")
    texts = [dev[i].supervisions[0].text for i in range(3)]
    assert texts == ["four 4", "one two", " ".join(["one two three"] * 50)]
    assert json.loads((stages / "data/cuts/left_out.json").read_text()) == {
        "train": {"unknown characters": 1, "more tokens than frames": 1},
        "dev": {},
    }
    report = (stages / "data/cuts/report.txt").read_text()
    assert "dev: 3 of 3 utterances kept" in report and "  kept, unknown characters: 1" in report
    assert report.count("  kept, blanks made single spaces: 1") == 2


def test_too_many_faults_stop_and_keep_what_was_there(stages, program, capsys):
    program("validate").main(ARGS)
    before = (stages / "data/cuts/dev.jsonl").read_bytes()
    edit("dev", lambda number, cut: cut["supervisions"][0].update(text="") if number == 0 else None)
    with pytest.raises(SystemExit) as error:
        program("validate").main(ARGS)
    assert error.value.code == 1
    message = capsys.readouterr().err
    assert "dev: 33.3 % of 3 utterances are faulty, more than --max-drop 5 %, most often: empty text" in message
    assert (stages / "data/cuts/dev.jsonl").read_bytes() == before
    assert "empty text: 1" in (stages / "data/cuts/report.txt").read_text()
    assert not [name for name in os.listdir("data/cuts") if name.endswith(".tmp.jsonl")]


@pytest.mark.parametrize(
    "argv, message",
    [
        (
            ["--sets", "dev", "--bpe-model", "data/lang/bpe.model"],
            'none of the sets "dev" begins with train; give --train-set',
        ),
        (["--sets", "dev", "--train-set", "train", "--bpe-model", "data/lang/bpe.model"], "--sets: train is missing"),
        (["--sets", "train other", "--bpe-model", "data/lang/bpe.model"], "other.jsonl.gz: no such manifest; stage 3"),
        (["--sets", "train", "--bpe-model", "nowhere"], "nowhere: no such BPE model"),
        ([*ARGS, "--fbank-dir", "data/nothing"], "data/nothing/features.json: no such file"),
    ],
)
def test_bad_input_is_one_line(stages, program, capsys, argv, message):
    with pytest.raises(SystemExit) as error:
        program("validate").main(argv)
    assert error.value.code == 1
    assert message in capsys.readouterr().err


def test_a_broken_manifest_is_named_with_its_line(stages, program, capsys):
    path = stages / "data/fbank/dev.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(lines[0] + lines[1][:50]))
    with pytest.raises(SystemExit):
        program("validate").main(ARGS)
    assert "data/fbank/dev.jsonl.gz: line 2: broken" in capsys.readouterr().err
