"""The jobs of egs/librispeech/ASR/mlperf: launcher, timed runs, Slurm, files of other systems."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnt.errors import UserError

ROOT = Path(__file__).parents[2]
MLPERF = ROOT / "egs/librispeech/ASR/mlperf"


@pytest.fixture
def program(load_file):
    return lambda name: load_file(MLPERF / f"{name}.py", f"mlperf_{name}")


@pytest.fixture
def launch(monkeypatch, program):
    for name in ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    return program("launch")


# Where the numbers come from: the systems of the published results.
@pytest.mark.parametrize(
    "arguments, batch",
    [("--gpus 8 --micro-batch 192", 1536), ("--gpus 4 --micro-batch 192 --accumulation 2", 1536),
     ("--gpus 2 --micro-batch 128 --accumulation 2", 512), ("--nodes 8 --gpus 8 --micro-batch 32", 2048),
     ("--nodes 192 --gpus 8 --micro-batch 4", 6144), ("--gpus 8 --micro-batch 16 --accumulation 8", 1024),
     ("--gpus 1 --accumulation 64 --global-batch 1024", 1024), ("--gpus 8 --global-batch 1024", 1024)],
)  # fmt: skip
def test_the_configuration_of_the_global_batch_is_taken(launch, capsys, arguments, batch):
    launch.main([*arguments.split(), "--dry-run", "--seed", "3"])
    first, command = capsys.readouterr().out.splitlines()
    assert first.startswith(f"global batch {batch} = ") and f"conf/mlperf/{batch}.yaml" in command
    words = command.split()
    option = {name: words[words.index(name) + 1] for name in ("--batch-size", "--accum-grad", "--world-size", "--seed")}
    nodes = int(first.split(" = ")[1].split()[0])
    assert nodes * int(option["--world-size"]) * int(option["--batch-size"]) * int(option["--accum-grad"]) == batch
    assert option["--seed"] == "3" and "--use-bf16" in words and "--mllog" in words
    assert words[1] == str(MLPERF / "train.py")


@pytest.mark.parametrize("gpus", [1, 4, 8])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_one_machine_in_every_precision(launch, capsys, gpus, precision):
    launch.main(f"--gpus {gpus} --accumulation {64 // gpus} --micro-batch 16 --precision {precision} --dry-run".split())
    words = capsys.readouterr().out.split()
    assert [word for word in words if word.startswith("--use-")] == (
        [] if precision == "fp32" else [f"--use-{precision}"]
    )
    assert words[2] == "1024"


def test_other_systems_batches_need_a_configuration(launch, capsys):
    arguments = ["--gpus", "8", "--micro-batch", "6", "--accumulation", "8", "--dry-run"]
    with pytest.raises(SystemExit):
        launch.main(arguments)
    assert "384.yaml: no such configuration" in capsys.readouterr().err
    reference = str(MLPERF.parent / "conf/mlperf/1024-reference.yaml")
    launch.main([*arguments, "--recipe-config", reference, "--train-opts", "--num-buckets 6"])
    out = capsys.readouterr().out
    assert "global batch 384" in out and "1024-reference.yaml" in out and out.split()[-2:] == ["--num-buckets", "6"]


@pytest.mark.parametrize(
    "arguments, part",
    [("--gpus 3 --global-batch 1024", "3 x 341 x 1"), ("--gpus 2", "give --micro-batch or --global-batch"),
     ("--gpus 8 --nodes 8 --micro-batch 32", "started by srun")],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_named(launch, capsys, arguments, part):
    with pytest.raises(SystemExit) as error:
        launch.main(arguments.split())
    assert error.value.code == 1 and part in capsys.readouterr().err


def test_seeds_come_from_the_system_and_are_one_for_all_processes(launch, capsys, monkeypatch):
    seeds = set()
    for _ in range(3):
        launch.main(["--gpus", "1", "--micro-batch", "512", "--dry-run"])
        seeds.add(capsys.readouterr().out.split("seed ")[1].split(";")[0])
    assert len(seeds) == 3
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(SystemExit):
        launch.main(["--nodes", "2", "--gpus", "4", "--micro-batch", "64"])
    assert "--seed: all processes need the same" in capsys.readouterr().err
    monkeypatch.setattr(os, "execv", lambda path, words: print("started", *words))
    launch.main(["--nodes", "2", "--gpus", "4", "--micro-batch", "64", "--seed", "5"])
    out = capsys.readouterr().out
    assert out.startswith("started") and "--world-size" not in out  # srun made the processes; rank 0 alone tells


def log_of(path, minutes, status="success", wer=0.057, synthetic=False):
    values = {
        "seed": 1,
        "number_of_ranks": 8,
        "global_batch_size": 1536,
        "precision": "bf16",
        "data_synthetic": synthetic,
    }
    lines = [{"key": key, "value": value, "time_ms": 0, "metadata": {}} for key, value in values.items()]
    lines.append({"key": "run_start", "value": None, "time_ms": 1000, "metadata": {}})
    for epoch, speed in ((1, 100.0), (2, 300.0)):
        lines.append({"key": "tracked_stats", "value": {"throughput": speed}, "time_ms": 0, "metadata": {}})
        lines.append({"key": "eval_accuracy", "value": wer, "time_ms": 0, "metadata": {"epoch_num": epoch}})
    lines.append({"key": "run_stop", "value": None, "time_ms": 1000 + 60_000 * minutes, "metadata": {"status": status}})
    path.write_text("a line of the training\n" + "".join(f"0: :::MLLOG {json.dumps(line)}\n" for line in lines))
    return str(path)


def test_result_is_the_mean_without_best_and_worst(tmp_path, capsys, program):
    results = program("results")
    logs = [log_of(tmp_path / f"{i}.txt", minutes) for i, minutes in enumerate((10, 2, 4, 100))]
    results.main(logs)
    out = capsys.readouterr().out
    assert "mean of 4 runs without the best and the worst: 7.00 minutes" in out and "NOTICE" not in out
    row = out.splitlines()[1].split()
    assert row[:7] == ["8", "bf16", "1536", "200.0", "5.70%", "2", "10.00"]
    # One run that missed the target is the worst; two are no result.
    failed = log_of(tmp_path / "f.txt", 1, status="aborted")
    results.main([*logs[:2], failed])
    assert "without the best and the worst: 10.00" in capsys.readouterr().out
    results.main([logs[0], failed, log_of(tmp_path / "g.txt", 1, status="aborted", synthetic=True)])
    out = capsys.readouterr().out
    assert "without" not in out and "NOTICE: synthetic data" in out


def test_a_log_without_an_end_is_named(tmp_path, capsys, program):
    (tmp_path / "a.txt").write_text("Traceback\n")
    with pytest.raises(SystemExit):
        program("results").main([str(tmp_path / "a.txt")])
    assert "a.txt: no MLPerf log of a run that ended" in capsys.readouterr().err


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Manifests of two FLAC files, as stage 1 leaves them; the working directory."""
    from lhotse import Recording, SupervisionSegment

    from rnnt.data.audio import write_audio
    from rnnt.prepare.corpus import build_corpus

    monkeypatch.chdir(tmp_path)
    with build_corpus("data/manifests") as builder:
        for i in range(2):
            path = tmp_path / f"11-7-000{i}.flac"
            write_audio(path, 0.1 * np.random.default_rng(i).standard_normal(8000 + 1600 * i), 16000)
            recording = Recording.from_file(path)
            builder.add_recording("dev-clean", recording, str(path))
            text = f"HELLO{' WORLD' * i}"
            supervision = SupervisionSegment(path.stem, path.stem, 0, recording.duration, text=text, speaker="11")
            builder.add_supervision("dev-clean", supervision, str(path))
        builder.check("data/audio")
        builder.write()
    return tmp_path


def test_wav_files_and_manifest_and_back(recordings, capsys, program):
    import soundfile
    from lhotse import RecordingSet, SupervisionSet

    program("convert_to_wav").main(["--set", "dev-clean"])
    entries = json.loads(Path("wav/dev-clean-wav.json").read_text())
    assert [entry["transcript"] for entry in entries] == ["hello", "hello world"]
    file = entries[1]["files"][-1]
    assert file["fname"] == "dev-clean/11-7-0001.wav" and file["num_samples"] == 9600 and file["sample_rate"] == 16000
    assert entries[1]["original_duration"] == pytest.approx(0.6) and entries[1]["original_num_samples"] == 9600
    wav, flac = soundfile.read("wav/dev-clean/11-7-0001.wav")[0], soundfile.read("11-7-0001.flac")[0]
    np.testing.assert_array_equal(wav, flac)

    importer = program("import_manifests")
    importer.main(["--sets", "dev-clean=wav/dev-clean-wav.json", "--audio-dir", "wav", "--upper-case", "--out", "back"])
    supervisions = list(SupervisionSet.from_file("back/dev-clean_supervisions.jsonl.gz"))
    assert [(s.id, s.text, s.speaker) for s in supervisions] == [
        ("11-7-0000", "HELLO", "11"), ("11-7-0001", "HELLO WORLD", "11")
    ]  # fmt: skip
    sources = [r.sources[0].source for r in RecordingSet.from_file("back/dev-clean_recordings.jsonl.gz")]
    assert sources == [str(recordings / f"wav/dev-clean/11-7-000{i}.wav") for i in range(2)]
    assert Path("back/sets").read_text() == "dev-clean\n"


def test_overlapping_utterances_become_wav_files_of_their_own(tmp_path, monkeypatch, program):
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    from rnnt.data.audio import write_audio

    monkeypatch.chdir(tmp_path)
    write_audio("r.wav", np.repeat([0.1, 0.2, 0.3], 8000), 8000)
    os.makedirs("data/manifests")
    RecordingSet.from_recordings([Recording.from_file("r.wav")]).to_file("data/manifests/s_recordings.jsonl.gz")
    times = {"../u1": (0.0, 1.5), "u2": (1.0, 1.0), "u3": (2.0, 1.0)}
    segments = [SupervisionSegment(key, "r", *span, text=key) for key, span in times.items()]
    SupervisionSet.from_segments(segments).to_file("data/manifests/s_supervisions.jsonl.gz")
    program("convert_to_wav").main(["--set", "s"])
    entries = json.loads(Path("wav/s-wav.json").read_text())
    assert [(entry["transcript"], entry["original_duration"]) for entry in entries] == [
        ("../u1", 1.5), ("u2", 1.0), ("u3", 1.0)
    ]  # fmt: skip
    names = [entry["files"][0]["fname"] for entry in entries]
    assert sorted(os.listdir("wav/s")) == sorted(os.path.basename(name) for name in names) and len(set(names)) == 3
    levels = [Recording.from_file(f"wav/{name}").load_audio()[0, 4000] for name in names]
    np.testing.assert_allclose(levels, [0.1, 0.2, 0.3], atol=1e-3)


def test_tokenised_transcripts_and_back(recordings, toy, capsys, program):
    from lhotse import SupervisionSet

    entries = [
        {"transcript": "ONE TWO", "original_duration": 0.5, "files": [{"fname": "x"}, {"fname": "11-7-0000.flac"}]}
    ]
    Path("a.json").write_text(json.dumps(entries))
    model = str(toy / "bpe.model")
    tokenize = program("tokenize_transcripts")
    with pytest.raises(SystemExit):
        tokenize.main(["--manifests", "a.json", "--bpe-model", model])
    assert "a.json: 11-7-0000.flac: the model can't write 'ONE TWO'" in capsys.readouterr().err
    tokenize.main(["--manifests", "a.json", "--bpe-model", model, "--lower-case"])
    [entry] = json.loads(Path("tokenized/a-tokenized.json").read_text())
    assert (entry["fname"], entry["original_duration"]) == ("11-7-0000.flac", 0.5)
    assert all(isinstance(token, int) for token in entry["tokenized_transcript"])
    importer = program("import_manifests")
    arguments = ["--sets", "dev=tokenized/a-tokenized.json", "--out", "back"]
    with pytest.raises(SystemExit):
        importer.main(arguments)
    assert "--bpe-model names the model" in capsys.readouterr().err
    importer.main([*arguments, "--bpe-model", model])
    assert [s.text for s in SupervisionSet.from_file("back/dev_supervisions.jsonl.gz")] == ["one two"]


def test_faults_of_manifests_are_named(recordings, capsys, program):
    importer = program("import_manifests")
    Path("b.json").write_text('[{"files": []}]')
    Path("c.json").write_text('[{"transcript": "a", "files": [{"fname": "no.wav"}]}]')
    for name, part in (("b", "entry 0 lacks"), ("c", "no.wav: no such file"), ("d", "no such file")):
        with pytest.raises(SystemExit):
            importer.main(["--sets", f"dev={name}.json", "--out", "back"])
        assert part in capsys.readouterr().err
    with pytest.raises(UserError, match="is not SET=FILE.json"):
        importer.parse_sets(["dev"])


def run(*command, **environment):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("script", ["prepare.sh", "run_and_time.sh", "run.sub"])
def test_help_needs_no_environment(script, tmp_path):
    result = run("bash", MLPERF / script, "--help", RNNT_VENV=str(tmp_path / "none"), PATH="/usr/bin:/bin")
    assert result.returncode == 0 and result.stderr.startswith("Usage: ")
    assert run("bash", MLPERF / script, "--no-such", "1").returncode == 1


def test_slurm_job_with_and_without_container():
    arguments = ["bash", MLPERF / "run.sub", "--gpus", "8", "--micro-batch", "32", "--dry-run", "true"]
    place = {"SLURM_SUBMIT_DIR": str(MLPERF), "SLURM_JOB_NUM_NODES": "8"}
    plain = run(*arguments, **place).stdout.replace("\\", "")
    assert "srun --nodes 8 --ntasks-per-node 8" in plain and "container" not in plain
    assert "--nodes 8 --gpus 8 --micro-batch 32 --accumulation 1 --precision bf16" in plain
    image = [*arguments, "--container-image", "rnnt.sqsh", "--container-mounts", "/data:/data"]
    inside = run(*image, **place).stdout.replace("\\", "")
    assert "--container-image=rnnt.sqsh" in inside and f"--container-mounts={ROOT}:{ROOT},/data:/data" in inside
    assert "submit it in" in run(*arguments, SLURM_SUBMIT_DIR="/tmp").stderr


def test_container_mounts_data_checkpoints_and_results(tmp_path):
    for name in ("data", "ckpt", "results"):
        (tmp_path / name).mkdir()
    script = ROOT / "tools/docker/launch.sh"
    places = ["--data", tmp_path / "data", "--checkpoints", tmp_path / "ckpt", "--results", tmp_path / "results"]
    result = run(
        script, *places, "--runner", "docker", "--gpus", "true", "--dry-run", "true", "--", "train.py", "--help"
    )
    words = result.stdout.split()
    assert words[:3] == ["docker", "run", "--rm"] and words[-3:] == ["rnnt", "train.py", "--help"] and "--gpus" in words
    mounts = [words[i + 1] for i, word in enumerate(words) if word == "-v"]
    assert mounts == [f"{tmp_path}/data:/datasets:ro", f"{tmp_path}/ckpt:/checkpoints", f"{tmp_path}/results:/results"]
    assert "no such folder" in run(script, "--data", tmp_path / "none", "--dry-run", "true").stderr
    assert "--data is needed" in run(script).stderr


def test_build_uses_what_is_installed(tmp_path):
    (tmp_path / "docker").write_text(
        '#!/bin/sh\nprintf "%s " docker "$@"; ls "$(echo "$@" | sed "s/.* //")/setup.py"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    script = ROOT / "tools/docker/build.sh"
    result = run(script, "--tag", "t", "--environment", "none", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(
        "docker build -t t --build-arg BASE=debian:12-slim --build-arg ENVIRONMENT=none -f "
    )


@pytest.fixture
def checkout(tmp_path):
    """A copy of the jobs in a tree that shares everything else, so that nothing is written into this checkout."""
    target = tmp_path / "egs/librispeech/ASR"
    target.mkdir(parents=True)
    for name in ("rnnt", "local", "utils", "tools", "setup.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("path.sh", "cmd.sh", "conf", "local"):
        (target / name).symlink_to(MLPERF.parent / name)
    shutil.copytree(MLPERF, target / "mlperf", ignore=shutil.ignore_patterns("data", "exp", "__pycache__"))
    return target / "mlperf"


def small(number, **more):
    """Options of train.py: a model of a few thousand weights that learns synthetic tokens in seconds."""
    values = {
        "encoder_dim": 64, "encoder_layers": 2, "layers_before_stacking": 1, "predictor_layers": 1, "predictor_dim": 32,
        "joiner_dim": 32, "vocab_size": 6, "blank_id": 5, "num_features": 20, "dropout": 0, "predictor_dropout": 0,
        "joiner_dropout": 0, "lstm_init_scale": 1, "enable_spec_aug": "false", "synthetic_train": number,
        "synthetic_dev": 9, "synthetic_scale": 0.1, "num_workers": 0, "tensorboard": "false", "threads": 1,
        "device": "cpu", "stop_at_wer": 100000, "num_epochs": 2, **more,
    }  # fmt: skip
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())


@pytest.mark.slow
def test_timed_runs_from_start_to_result(checkout):
    pytest.importorskip("mlperf_logging")
    command = [checkout / "run_and_time.sh", "--prepare", "false", "--trials", "3", "--clear-caches", "false"]
    config = checkout.parent / "conf/mlperf/512.yaml"
    launching = f"--micro-batch 8 --gpus 1 --precision fp32 --synthetic true --division open --recipe-config {config}"
    command += ["--launch-opts", launching, "--train-opts", small(16)]
    result = run(*command)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    out = result.stdout
    assert out.count("STARTING TIMING RUN AT") == out.count("ENDING TIMING RUN AT") == 3
    assert out.count("RESULT,RNN_SPEECH_RECOGNITION,,") == 3
    assert out.count("global batch 8 = 1 node(s) x 1 process(es) x micro-batch 8 x accumulation 1") == 3
    assert "mean of 3 runs without the best and the worst" in out and "NOTICE: synthetic data" in out
    seeds = [
        json.loads(line[9:])["value"] for line in out.splitlines() if line.startswith(":::MLLOG") and '"seed"' in line
    ]
    assert len(set(seeds)) == 3
    assert out.count("compliance check:") == 3
    again = run(*command)
    assert again.stdout.count("done before, kept") == 3 and "mean of 3 runs" in again.stdout


@pytest.mark.slow
def test_from_the_corpus_to_a_trained_epoch(checkout, tmp_path):
    """FLAC files in the layout of the corpus, prepare.sh, then launch.py with the benchmark's features and speeds."""
    from rnnt.data.audio import write_audio

    for part, number in (("train-clean-100", 12), ("dev-clean", 3)):
        folder = tmp_path / "dl/LibriSpeech" / part / "11" / "7"
        folder.mkdir(parents=True)
        lines = []
        for i in range(number):
            seconds = 32 if part == "dev-clean" and i == 0 else 1
            noise = 0.1 * np.random.default_rng(i).standard_normal(16000 * seconds)
            write_audio(folder / f"11-7-{i:04d}.flac", noise, 16000)
            lines.append(f"11-7-{i:04d} {'ABC DEF'[: 3 + 4 * (i % 2)]} HELLO\n")
        (folder / "11-7.trans.txt").write_text("".join(lines))
    prepare = [
        checkout / "prepare.sh",
        "--dl-dir",
        tmp_path / "dl",
        "--parts",
        "train-clean-100 dev-clean",
        "--nj",
        "1",
    ]
    # The benchmark has 1023 tokens.
    config = tmp_path / "small.yaml"
    config.write_text(f"base: {checkout.parent}/conf/mlperf/512.yaml\nvocab_size: 15\nblank_id: 14\n")
    result = run(*prepare, "--train-config", config)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    features = json.loads((checkout / "data/cuts/features.json").read_text())
    assert features["frontend"] == "slaney_log_mel" and features["num_mel_bins"] == 80
    tokens = (checkout / "data/lang_bpe_14/tokens.txt").read_text().splitlines()
    assert tokens[0] == "<unk> 0" and tokens[-1] == f"<blk> {len(tokens) - 1}"
    options = small(0, synthetic_dev=0, synthetic_scale=1, num_features=80, vocab_size=len(tokens), num_epochs=1)
    options = options.replace("--blank-id 5", f"--blank-id {len(tokens) - 1}")
    command = [sys.executable, checkout / "launch.py", "--micro-batch", "4", "--gpus", "1", "--precision", "fp32"]
    command += ["--data", checkout / "data", "--exp-dir", tmp_path / "exp", "--recipe-config", config, "--seed", "1"]
    command += ["--train-opts", options]
    result = run(*command, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert (
        '"key": "train_samples", "value": 12' in result.stdout
        and '"data_speed_perturbaton_max", "value": 1.15' in result.stdout
    )
    # The longest utterance of dev-clean lasts 32.6 s, and none may be left out.
    assert '"key": "eval_samples", "value": 3' in result.stdout
    assert json.loads((tmp_path / "exp/epochs.jsonl").read_text())["epoch"] == 1
