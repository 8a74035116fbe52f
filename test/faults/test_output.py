"""Output that can't be written, at the start and midway: one line, and what was there before is kept."""

import resource
import sys

import pytest

from rnnt.decoding.settings import parse_settings

FRONT_END = ["--sampling-rate", "8000", "--num-mel-bins", "20"]
TOKENIZER = ["--bpe-model", "data/lang/bpe.model"]
ONE = ["--num-workers", "0", "--threads", "1"]
TRAIN = [
    *TOKENIZER, "--num-epochs", "1", "--encoder-dim", "8", "--encoder-layers", "1", "--subsampling-channels", "2",
    "--predictor-dim", "8", "--joiner-dim", "8", "--device", "cpu", "--max-duration", "6", "--features-mask-size", "2",
    "--frames-mask-size", "3", *ONE,
]  # fmt: skip
WAV = "egs/librispeech/ASR/mlperf/convert_to_wav.py"
# Each ends with the option that names its output.
PROGRAMS = {
    "stage 1": ("import_corpus", ["--sets", "train=train.tsv", "--out"]),
    "stage 2": ("make_noise_manifest", ["--noise-dir", "audio", "--out"]),
    "stage 3": ("compute_fbank", [*FRONT_END, "--sets", "train", "--out"]),
    "stage 3 on the fly": ("compute_fbank", [*FRONT_END, "--sets", "train", "--features", "onthefly", "--out"]),
    "stage 3 plan": ("compute_fbank", [*FRONT_END, "--sets", "train", "--plan", "--out"]),
    "stage 5": ("train_bpe", ["--vocab-size", "14", "--out"]),
    "stage 6": ("validate", [*TOKENIZER, "--out"]),
    "training": ("train", [*TRAIN, "--exp-dir"]),
    "decoding": ("decode", ["--model-dir", "model", *ONE, "--exp-dir"]),
    "export": ("export_model", ["--exp-dir", "exp", "--out"]),
    "transcription": ("transcribe", ["--model", "model", "--threads", "1", "audio/dev-0.wav", "--output-dir"]),
    "kaldi": ("export_kaldi", ["--out"]),
    "details": ("score", ["wer", "ref.trn", "hyp.trn", "--details"]),
    "wav": (WAV, ["--set", "train", "--out"]),
}
PLACES = {
    "below a file": "train.tsv/x/y",
    "a device": "/dev/full/x",
    "proc": "/proc/rnnt/x",
    "long": "x" * 300,
    "links": "loop/x",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", PROGRAMS)
def test_places_where_nothing_can_be_written(kind, place, world, refused):
    (world / "loop").symlink_to("loop")
    program, argv = PROGRAMS[kind]
    refused(program, [*argv, PLACES[place]], PLACES[place].split("/x")[0])


@pytest.mark.parametrize("kind", [kind for kind in PROGRAMS if kind != "details"])
def test_a_file_in_place_of_the_folder(kind, world, refused):
    program, argv = PROGRAMS[kind]
    refused(program, [*argv, "train.tsv"], "train.tsv")


# What stands in the way of a file, and who writes it.
TAKEN = {
    "manifests": ("stage 1", "data/manifests", "train_recordings.jsonl.gz"),
    "list of sets": ("stage 1", "data/manifests", "sets"),
    "noise": ("stage 2", "data/noise_manifests", "noise_recordings.jsonl.gz"),
    "features": ("stage 3", "f", "train.jsonl.gz"),
    "features.json": ("stage 3", "f", "features.json"),
    "tokens": ("stage 5", "data/lang", "tokens.txt"),
    "model of tokens": ("stage 5", "data/lang", "bpe.model"),
    "cuts": ("stage 6", "data/cuts", "train.jsonl"),
    "cmvn": ("stage 6", "data/cuts", "cmvn.json"),
    "report": ("stage 6", "data/cuts", "report.txt"),
    "figure": ("stage 6", "data/cuts", "durations.png"),
    "lock": ("training", "e", ".lock"),
    "log": ("training", "e", "log/train.txt"),
    "log folder": ("training", "e", "log"),
    "config.json": ("training", "e", "config.json"),
    "copy of the tokenizer": ("training", "e", "bpe.model"),
    "epochs": ("training", "e", "epochs.jsonl"),
    "hypotheses": ("decoding", "e", "DECODE/dev/hyp.trn"),
    "summary": ("decoding", "e", "DECODE/dev/summary.json"),
    "decoded set": ("decoding", "e", "DECODE"),
    "transcript": ("transcription", "t", "dev-0.txt"),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_something_else_in_place_of_a_file(kind, world, refused):
    user, out, name = TAKEN[kind]
    program, argv = PROGRAMS[user]
    if user == "decoding":  # the folder is named by the options
        name = name.replace("DECODE", parse_settings([*argv, out]).folder().name)
    target = world / out / name
    if target.is_file():
        target.unlink()
    if name == "log" or kind == "decoded set":
        target.parent.mkdir(parents=True)
        target.write_text("here")
    else:
        target.mkdir(parents=True)
        (target / "mine").write_text("here")
    # What was made before the fault is found stays: a step that is repeated makes it again.
    refused(program, [*argv, out], out, grows=[out])
    assert (target if target.is_file() else target / "mine").read_text() == "here"


@pytest.mark.parametrize("size", [1500, 4000, 10_000, 30_000])
@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_disk_that_is_full_midway(kind, size, world, one_line, capfd, unchanged, run_program):
    """No file may grow beyond `size` bytes: a program ends well, or with one line, and harms nothing."""
    program, argv = PROGRAMS[kind]
    run_program(program, ["--help"])  # what is imported is compiled and cached now
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with unchanged():
        capfd.readouterr()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            status = run_program(program, [*argv, "out"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        err = capfd.readouterr().err
    assert status in (0, 1) and "Traceback" not in err
    assert err.count("\n") == status, err


WRITERS = {
    "transcription": ("transcribe", ["--model", "model", "--threads", "1", "audio/dev-0.wav"]),
    "score": ("score", ["wer", "ref.trn", "hyp.trn"]),
    "table": ("score", ["table", "exp"]),
    "sets": ("choose_sets", []),
    "export": ("export_model", ["--exp-dir", "exp", "--out", "m"]),
    "stage 1": ("import_corpus", ["--sets", "train=train.tsv", "--out", "m"]),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_standard_output_on_a_full_disk(kind, monkeypatch, refused):
    program, argv = WRITERS[kind]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
        refused(program, argv, "standard output", "No space left on device")


TENSORBOARD = {
    "a file in its place": lambda folder: folder.write_text("here"),
    "a loop of links": lambda folder: folder.symlink_to("tensorboard"),
    "a link to a device": lambda folder: folder.symlink_to("/dev/full"),
    "a link to nowhere": lambda folder: folder.symlink_to("/proc/none"),
}


@pytest.mark.parametrize("name", ["train", "score"])
def test_help_that_cannot_be_written(name, run_program, capfd, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
        status = run_program(name, ["--help"])
    assert status == 1 and "standard output: No space left on device" in capfd.readouterr().err


@pytest.mark.parametrize("kind", TENSORBOARD)
def test_tensorboard_never_ends_a_training(kind, world, run_program, capfd):
    (world / "e").mkdir()
    TENSORBOARD[kind](world / "e/tensorboard")
    assert run_program("train", [*TRAIN, "--tensorboard", "true", "--exp-dir", "e"]) == 0
    out = capfd.readouterr()
    assert "Traceback" not in out.out + out.err and "TensorBoard" in out.out
    assert (world / "e/epoch-1.pt").is_file()


def test_tensorboard_that_breaks_midway(world, run_program, capfd, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fail)
    assert run_program("train", [*TRAIN, "--tensorboard", "true", "--log-interval", "1", "--exp-dir", "e"]) == 0
    out = capfd.readouterr().out
    assert out.count("No space left on device") == 1 and (world / "e/epoch-1.pt").is_file()


def test_a_log_without_room_is_left_out(world, run_program, capfd):
    (world / "exp/log/train.txt").unlink()
    (world / "exp/log/train.txt").symlink_to("/dev/full")
    assert run_program("train", [*TRAIN, "--num-epochs", "2", "--tensorboard", "false", "--exp-dir", "exp"]) == 0
    out = capfd.readouterr()
    assert out.err == "" and out.out.count("without exp/log/train.txt: No space left on device") == 1
    assert (world / "exp/epoch-2.pt").is_file()
