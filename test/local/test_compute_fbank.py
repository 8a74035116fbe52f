import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from rnnt.data.config import FeatureConfig, read_feature_config
from rnnt.data.fbank import make_extractor
from rnnt.data.feature_loader import FeatureLoader
from rnnt.data.manifest import CutManifest
from rnnt.data.noise import NoiseSource
from rnnt.prepare import chunks, extraction

ARGS = ["--sampling-rate", "8000", "--num-mel-bins", "40", "--sets", "train dev"]


def cuts_of(name):
    return list(CutSet.from_file(f"data/fbank/{name}.jsonl.gz"))


def fails(main, argv, capsys, status=1):
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert error.value.code == status
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


def test_splits_and_one_process_give_the_same(recipe, program, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_CUTS", 3)
    main = program("compute_fbank").main
    main([*ARGS, "--out", "data/one"])
    many = [*ARGS, "--out", "data/many"]
    main([*many, "--plan"])
    for split in ("2/2", "1/2"):
        main([*many, "--split", split])
    main([*many, "--merge"])
    contents = [
        [(cut.id, cut.load_features().tobytes()) for cut in CutSet.from_file(f"data/{out}/train.jsonl.gz")]
        for out in ("one", "many")
    ]
    assert len(contents[0]) == 8 and contents[0] == contents[1]
    assert len(list((recipe / "data/many/train").glob("*.lca"))) == 3
    assert sorted(os.listdir("data/many/dev")) == sorted(os.listdir("data/one/dev"))
    assert (recipe / "data/many/features.json").read_text() == (recipe / "data/one/features.json").read_text()


def test_an_array_of_jobs_below_folders_that_are_called_like_a_range_variable(recipe, program, monkeypatch):
    """Of the program, here a copy's stand-in, and of the output."""
    module = program("compute_fbank")
    script = recipe / "JOBS/local/compute_fbank.py"
    script.parent.mkdir(parents=True)
    script.write_text(Path(module.__file__).read_text())
    monkeypatch.setattr(module, "__file__", str(script))
    root = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{root / 'utils'}:{os.environ['PATH']}")
    out = str(recipe / "JOB_5/fbank")
    module.main([*ARGS, "--sets", "dev", "--out", out, "--cmd", "run.pl", "--nj", "2"])
    assert len(list(CutSet.from_file(f"{out}/dev.jsonl.gz"))) == 3
    assert sorted(path.name for path in Path(f"{out}/log").iterdir()) == ["fbank.1.log", "fbank.2.log"]


def test_steps_that_come_too_early_are_refused(recipe, program, monkeypatch, capsys):
    monkeypatch.setattr(chunks, "CHUNK_CUTS", 3)
    main = program("compute_fbank").main
    assert "data/fbank/train.jsonl.gz: not planned; run this with --plan" in fails(main, [*ARGS, "--merge"], capsys)
    main([*ARGS, "--plan"])
    assert "data/fbank/train: 3 of 3 chunks are missing" in fails(main, [*ARGS, "--merge"], capsys)
    main([*ARGS, "--split", "1/2"])
    assert "data/fbank/train: 1 of 3 chunks are missing" in fails(main, [*ARGS, "--merge"], capsys)
    other = ["--sampling-rate", "8000", "--num-mel-bins", "20", "--sets", "train dev", "--split", "2/2"]
    assert "planned with another front-end" in fails(main, other, capsys)
    main([*ARGS, "--split", "2/2"])
    main([*ARGS, "--merge"])
    main([*ARGS, "--split", "2/2"])
    assert len(cuts_of("train")) == 8 and len(cuts_of("dev")) == 3


# A stage program that is killed when it has finished three chunks.
PROGRAM = """
import os, runpy, signal, sys
from rnnt.prepare import chunks
chunks.CHUNK_CUTS = 2
replace, finished = os.replace, []
def replace_and_die(source, target):
    replace(source, target)
    finished.extend([target] * ("cuts-" in os.path.basename(target)))
    if len(finished) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace_and_die
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_killed_split_is_redone_alone(tmp_path, program, made_manifests, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chunks, "CHUNK_CUTS", 2)
    made_manifests(tmp_path, "train", 60)
    main = program("compute_fbank").main
    argv = [*ARGS[:-1], "train"]
    main([*argv, "--plan"])
    main([*argv, "--split", "2/2"])
    part = tmp_path / "data/fbank/.train.part"
    others = {path: path.stat().st_mtime_ns for path in part.glob("cuts-*.jsonl")}
    assert len(others) == 15
    path = str(Path(__file__).parents[2] / "local/compute_fbank.py")
    killed = subprocess.run([sys.executable, "-c", PROGRAM, path, *argv, "--split", "1/2"], stderr=subprocess.PIPE)
    before = {path: path.stat().st_mtime_ns for path in part.glob("cuts-*.jsonl")}
    assert (killed.returncode, len(before)) == (-signal.SIGKILL, 18), killed.stderr
    assert others.items() <= before.items()
    main([*argv, "--split", "1/2"])
    after = {path: path.stat().st_mtime_ns for path in part.glob("cuts-*.jsonl")}
    assert len(after) == 30 and before.items() <= after.items()
    main([*argv, "--merge"])
    assert len({cut.id for cut in cuts_of("train") if cut.load_features().shape == (cut.num_frames, 40)}) == 60


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


def test_a_set_that_was_killed_between_its_name_and_its_manifest_is_not_computed_again(recipe, program, monkeypatch):
    main = program("compute_fbank").main
    main(ARGS)
    wanted = Path("data/fbank/train.jsonl.gz").read_bytes()
    shutil.rmtree("data/fbank")

    def killed(self, target):
        rename(self, target)
        if self.name == ".train.part":
            raise KeyboardInterrupt

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(SystemExit):
        main(ARGS)
    monkeypatch.setattr(Path, "rename", rename)
    assert not Path("data/fbank/train.jsonl.gz").exists() and Path("data/fbank/train").is_dir()
    monkeypatch.setattr(extraction, "_read", lambda line, config: pytest.fail("computed again"))
    main([*ARGS[:-1], "train"])
    assert Path("data/fbank/train.jsonl.gz").read_bytes() == wanted


def test_what_a_killed_process_did_not_clear_is_cleared_by_the_next(recipe, program):
    program("compute_fbank").main(ARGS)
    folder = recipe / "data/fbank/train"
    before = {path.name for path in folder.iterdir()}
    for name in ("cuts.jsonl", "cuts-00000.jsonl", "skipped-00000.json", "plan.json"):
        (folder / name).write_text("{}")
    program("compute_fbank").main(ARGS)
    assert {path.name for path in folder.iterdir()} == before


def test_a_stopped_set_is_continued(recipe, program, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_CUTS", 3)
    compute_chunk = extraction.compute_chunk
    numbers = []

    def stop_at_last(chunk, *arguments):
        if chunk.number == 2 and len(numbers) == 2:
            raise KeyboardInterrupt
        numbers.append(chunk.number)
        compute_chunk(chunk, *arguments)

    monkeypatch.setattr(extraction, "compute_chunk", stop_at_last)
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


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_numbers_are_reported_and_left_out(recipe, program, capsys, value):
    samples = np.zeros(5000, np.float32)
    samples[1234] = value
    soundfile.write("audio/train/train-3.wav", samples, 8000, subtype="FLOAT")
    path = "data/manifests/train_recordings.jsonl.gz"
    recordings = [r for r in RecordingSet.from_file(path) if r.id != "train-3"]
    broken = Recording.from_file(recipe / "audio/train/train-3.wav")
    RecordingSet.from_recordings([*recordings, broken]).to_file(path)
    program("compute_fbank").main([*ARGS[:-1], "train"])
    printed = capsys.readouterr().out
    assert f"warning: train: utt-train-3: {recipe}/audio/train/train-3.wav: a sample is {value:g}, not a" in printed
    assert "train: features of 7 of 8 utterances" in printed and len(cuts_of("train")) == 7


def test_odd_rates_are_resampled(recipe, program):
    generator = np.random.default_rng(0)
    soundfile.write("odd.wav", 0.1 * generator.standard_normal(24001), 48001)
    RecordingSet.from_recordings([Recording.from_file("odd.wav")]).to_file("data/manifests/odd_recordings.jsonl.gz")
    SupervisionSet.from_segments([SupervisionSegment("u", "odd", 0.0, 0.5, text="one")]).to_file(
        "data/manifests/odd_supervisions.jsonl.gz"
    )
    program("compute_fbank").main([*ARGS[:-1], "odd"])
    (cut,) = cuts_of("odd")
    assert cut.load_features().shape == (50, 40)


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
    assert len(cuts) == 4 and all(len(cut.supervisions) == 1 for cut in cuts.values())
    assert cuts["part-1"].load_features().shape == (20, 40) and cuts["part-1"].start == 0.25


def test_noise_is_cut_into_windows_that_training_reads(recipe, program):
    argv = ["--sampling-rate", "8000", "--num-mel-bins", "40", "--window", "0.25", "--out", "data/noise"]
    program("compute_fbank").main([*argv, "--sets", "dev"])
    manifest = CutManifest("data/noise/dev.jsonl")
    cuts = [manifest[i] for i in range(len(manifest))]
    # The recordings have 0.5 s, 0.512 s and 0.524 s: their rests are too short.
    assert [cut.id for cut in cuts] == [f"dev-{i}-{k}" for i in range(3) for k in range(2)]
    assert all(cut.load_features().shape == (25, 40) for cut in cuts)
    source = NoiseSource("data/noise/dev.jsonl", read_feature_config("data/noise/features.json"))
    assert source.draw(70, 100, lambda cut: cut.load_features(), np.random.default_rng(0)).shape == (70, 40)


def test_bad_input_is_one_line(recipe, program, capsys):
    main = program("compute_fbank").main
    assert "none_recordings.jsonl.gz: no such manifest; stage 1" in fails(main, ["--sets", "none"], capsys)
    assert "--perturb-speed: 'fast' is not a list of numbers" in fails(main, [*ARGS, "--perturb-speed", "fast"], capsys)
    assert "factors are from 0.5 to 2" in fails(main, [*ARGS, "--perturb-speed", "9"], capsys)
    assert "--split is K/N, such as 1/4, not '3/2'" in fails(main, [*ARGS, "--split", "3/2"], capsys, status=2)
    silence = ["--frontend", "slaney_log_mel", "--high-freq", "8000", "--sets", "dev"]
    assert "cuts off silence, so its frames can't be stored" in fails(main, silence, capsys)


def test_two_front_ends_in_one_folder_are_refused(recipe, program, capsys):
    program("compute_fbank").main([*ARGS[:-1], "train"])
    message = fails(program("compute_fbank").main, ["--sampling-rate", "8000", "--sets", "dev"], capsys)
    assert "num_mel_bins is 80 in the configuration and 40 in data/fbank/train" in message
