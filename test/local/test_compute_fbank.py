import json
import os

import numpy as np
import pytest
from lhotse import CutSet, RecordingSet, SupervisionSet

from rnnt.data import extraction
from rnnt.data.config import FeatureConfig, read_feature_config
from rnnt.data.features import make_extractor
from rnnt.data.loading import FeatureLoader

ARGS = ["--sampling-rate", "8000", "--num-mel-bins", "40", "--sets", "train dev"]


def cuts_of(name):
    return list(CutSet.from_file(f"data/fbank/{name}.jsonl.gz"))


def fails(main, argv, capsys):
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert error.value.code == 1
    return capsys.readouterr().err


def test_features_of_every_utterance(recipe, program):
    program("compute_fbank").main(ARGS)
    extractor = make_extractor(FeatureConfig(sampling_rate=8000, num_mel_bins=40))
    assert [cut.id for cut in cuts_of("train")] == [f"utt-train-{i}" for i in range(8)]
    for cut in [*cuts_of("train"), *cuts_of("dev")]:
        # lilcom keeps multiples of 1/32.
        np.testing.assert_allclose(cut.load_features(), extractor.extract(cut.load_audio()[0]), atol=1 / 32)
        assert cut.features.storage_path.startswith("data/fbank/")
    stored = json.loads((recipe / "data/fbank/features.json").read_text())
    assert stored.pop("computed_by") == extractor.name
    assert FeatureConfig(**stored) == FeatureConfig(sampling_rate=8000, num_mel_bins=40)
    assert sorted(os.listdir("data/fbank/dev")) == ["feats-00000.lca", "inputs.json", "skipped.json"]


def test_number_of_processes_changes_nothing(recipe, program, monkeypatch):
    monkeypatch.setattr(extraction, "CHUNK_CUTS", 3)
    contents = []
    for nj in ("1", "2"):
        program("compute_fbank").main([*ARGS, "--nj", nj, "--out", f"data/fbank{nj}"])
        manifest = CutSet.from_file(f"data/fbank{nj}/train.jsonl.gz")
        contents.append([(cut.id, cut.load_features().tobytes()) for cut in manifest])
    assert contents[0] == contents[1]
    assert len(list((recipe / "data/fbank2/train").glob("*.lca"))) == 3


def test_speed_perturbation_of_the_training_set_alone(recipe, program):
    program("compute_fbank").main([*ARGS, "--perturb-speed", "0.9 1.1"])
    cuts = {cut.id: cut for cut in cuts_of("train")}
    assert len(cuts) == 24 and len(cuts_of("dev")) == 3
    original, slower = cuts["utt-train-7"], cuts["utt-train-7_sp0.9"]
    assert slower.num_frames == pytest.approx(original.num_frames / 0.9, abs=1)
    assert slower.load_features().shape == (slower.num_frames, 40)
    assert slower.supervisions[0].text == original.supervisions[0].text


def test_on_the_fly_writes_cuts_alone_that_give_the_stored_features(recipe, program, capsys):
    main = program("compute_fbank").main
    main([*ARGS, "--perturb-speed", "0.9"])
    stored = cuts_of("train")
    main([*ARGS, "--perturb-speed", "0.9", "--features", "onthefly"])
    assert "train: 16 utterances without features in data/fbank/train.jsonl.gz" in capsys.readouterr().out
    assert os.listdir("data/fbank/train") == ["inputs.json"]
    loader = FeatureLoader(read_feature_config("data/fbank/features.json"))
    cuts = cuts_of("train")
    assert [cut.id for cut in cuts] == [cut.id for cut in stored] and not any(cut.has_features for cut in cuts)
    main([*ARGS, "--perturb-speed", "0.9"])
    for cut, other in zip(cuts, cuts_of("train")):
        # lilcom keeps multiples of 1/32.
        np.testing.assert_allclose(loader.load(cut), other.load_features(), atol=1 / 32)


def test_finished_sets_are_skipped_and_changed_ones_made_again(recipe, program, capsys):
    main = program("compute_fbank").main
    main(ARGS)
    stamp = os.stat("data/fbank/train.jsonl.gz").st_mtime_ns
    capsys.readouterr()
    main(ARGS)
    assert "train: already in data/fbank/train.jsonl.gz" in capsys.readouterr().out
    assert os.stat("data/fbank/train.jsonl.gz").st_mtime_ns == stamp
    RecordingSet.from_file("data/manifests/train_recordings.jsonl.gz").subset(first=2).to_file(
        "data/manifests/train_recordings.jsonl.gz"
    )
    main(ARGS)
    assert "6 supervisions name a recording that is not in" in capsys.readouterr().out
    assert len(cuts_of("train")) == 2


def test_a_stopped_set_is_continued(recipe, program, monkeypatch):
    monkeypatch.setattr(extraction, "CHUNK_CUTS", 3)
    run_job = extraction.run_job
    numbers = []

    def stop_at_last(job):
        if job.number == 2 and len(numbers) == 2:
            raise KeyboardInterrupt
        numbers.append(job.number)
        run_job(job)

    monkeypatch.setattr(extraction, "run_job", stop_at_last)
    with pytest.raises(SystemExit):
        program("compute_fbank").main([*ARGS[:-1], "train"])
    assert numbers == [0, 1] and not os.path.exists("data/fbank/train.jsonl.gz")
    numbers.append("started again")
    program("compute_fbank").main([*ARGS[:-1], "train"])
    assert numbers[3:] == [2]
    assert [cut.id for cut in cuts_of("train")] == [f"utt-train-{i}" for i in range(8)]


def test_unreadable_recordings_are_reported_and_left_out(recipe, program, capsys):
    truncated = recipe / "audio/train/train-3.wav"
    truncated.write_bytes(truncated.read_bytes()[:2000])
    (recipe / "audio/train/train-5.wav").unlink()
    program("compute_fbank").main(ARGS)
    printed = capsys.readouterr().out
    for number in (3, 5):
        assert f"warning: train: utt-train-{number}: {recipe}/audio/train/train-{number}.wav: " in printed
    assert "train: features of 6 of 8 utterances" in printed
    assert not {"utt-train-3", "utt-train-5"} & {cut.id for cut in cuts_of("train")}


def test_nothing_readable_is_an_error(recipe, program, capsys):
    for path in (recipe / "audio/dev").iterdir():
        path.write_bytes(b"RIFF")
    message = fails(program("compute_fbank").main, ARGS, capsys)
    assert "data/fbank/dev: no utterance of the set can be read, such as utt-dev-0" in message
    assert not os.path.exists("data/fbank/dev.jsonl.gz")


def test_other_sampling_rates_are_resampled(recipe, program, capsys):
    program("compute_fbank").main(["--sampling-rate", "16000", "--sets", "dev"])
    assert "recordings with 8000 samples/s are resampled to 16000" in capsys.readouterr().out
    assert all(cut.load_features().shape == (cut.num_frames, 80) for cut in cuts_of("dev"))
    assert {cut.sampling_rate for cut in cuts_of("dev")} == {16000}


def test_utterances_inside_a_long_recording(recipe, program):
    path = "data/manifests/dev_supervisions.jsonl.gz"
    first, *others = SupervisionSet.from_file(path)
    parts = [first.trim(0.2).with_offset(start) for start in (0.0, 0.25)]
    for i, part in enumerate(parts):
        part.id = f"part-{i}"
    SupervisionSet.from_segments([*parts, *others]).to_file(path)
    program("compute_fbank").main([*ARGS[:-1], "dev"])
    cuts = {cut.id: cut for cut in cuts_of("dev")}
    assert len(cuts) == 4
    assert cuts["part-1"].load_features().shape == (20, 40) and cuts["part-1"].start == 0.25


def test_bad_input_is_one_line(recipe, program, capsys):
    main = program("compute_fbank").main
    assert "none_recordings.jsonl.gz: no such manifest; stage 1" in fails(main, ["--sets", "none"], capsys)
    assert "--perturb-speed: 'fast' is no list" in fails(main, [*ARGS, "--perturb-speed", "fast"], capsys)
    assert "factors are from 0.5 to 2" in fails(main, [*ARGS, "--perturb-speed", "9"], capsys)


def test_two_front_ends_in_one_folder_are_refused(recipe, program, capsys):
    program("compute_fbank").main([*ARGS[:-1], "train"])
    message = fails(program("compute_fbank").main, ["--sampling-rate", "8000", "--sets", "dev"], capsys)
    assert "num_mel_bins is 80 in the configuration and 40 in data/fbank/train" in message
