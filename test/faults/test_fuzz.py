"""Mutations of manifests, tables, configurations, checkpoints and model directories, drawn from a fixed seed.

Whatever a file holds, a program ends with status 0, 1 or 2 and no traceback; where it refuses, in one line that names a
file or an option; and the files that were there are as they were.
"""

import gzip
import io
import json
import shutil
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TRAIN = [
    "--bpe-model",
    "data/lang/bpe.model",
    "--num-epochs",
    "1",
    "--encoder-dim",
    "8",
    "--encoder-layers",
    "1",
    "--subsampling-channels",
    "2",
    "--predictor-dim",
    "8",
    "--joiner-dim",
    "8",
    "--device",
    "cpu",
    "--max-duration",
    "6",
    "--features-mask-size",
    "2",
    "--frames-mask-size",
    "3",
    "--num-workers",
    "0",
    "--threads",
    "1",
    "--max-updates",
    "1",
    "--tensorboard",
    "false",
]
ONE = ["--num-workers", "0", "--threads", "1"]
STAGE_6 = ["--bpe-model", "data/lang/bpe.model", "--out", "out"]
# File: (program, arguments).
READERS = {
    "train.tsv": ("import_corpus", ["--sets", "train=train.tsv", "--out", "out"]),
    "train.jsonl": ("import_corpus", ["--sets", "train=train.jsonl", "--out", "out"]),
    "kaldi_train/wav.scp": ("import_corpus", ["--sets", "train=kaldi_train", "--out", "out"]),
    "kaldi_train/text": ("import_corpus", ["--sets", "train=kaldi_train", "--out", "out"]),
    "train_recordings.jsonl.gz": ("import_corpus", ["--sets", "train=train_recordings.jsonl.gz", "--out", "out"]),
    "train_supervisions.jsonl.gz": ("import_corpus", ["--sets", "train=train_recordings.jsonl.gz", "--out", "out"]),
    "data/manifests/dev_recordings.jsonl.gz": ("compute_fbank", ["--sets", "dev", "--out", "out", "--plan"]),
    "data/manifests/dev_supervisions.jsonl.gz": ("compute_fbank", ["--sets", "dev", "--out", "out", "--plan"]),
    "data/fbank/train.jsonl.gz": ("validate", [*STAGE_6, "--sets", "train"]),
    "data/fbank/features.json": ("validate", [*STAGE_6, "--sets", "train"]),
    "data/cuts/train.jsonl": ("train", [*TRAIN, "--exp-dir", "out"]),
    "data/cuts/cmvn.json": ("train", [*TRAIN, "--exp-dir", "out"]),
    "data/cuts/dev.jsonl": ("decode", ["--model-dir", "model", *ONE, "--exp-dir", "out"]),
    "data/lang/transcript_words.txt": ("make_ngram", ["--lang-dir", "data/lang", "--order", "2"]),
    "train.yaml": ("train", [*TRAIN, "--config", "train.yaml", "--exp-dir", "out"]),
    "model/config.json": ("transcribe", ["--model", "model", "--threads", "1", "audio/dev-0.wav"]),
    "model/bpe.model": ("transcribe", ["--model", "model", "--threads", "1", "audio/dev-0.wav"]),
    "model/weights.pt": ("transcribe", ["--model", "model", "--threads", "1", "audio/dev-0.wav"]),
    "exp/epoch-1.pt": ("decode", ["--exp-dir", "exp", *ONE]),
    "exp/epochs.jsonl": ("export_model", ["--exp-dir", "exp", "--out", "out", "--best", "1"]),
    "ref.trn": ("score", ["wer", "ref.trn", "hyp.trn"]),
    "hyp.trn": ("score", ["wer", "ref.trn", "hyp.trn", "--details", "out"]),
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=6),
    st.just([]),
    st.just({}),
    st.just("\ud800"),
    st.just("../../x"),
    st.just("x" * 3000),
    st.just([[[[]]]]),
    st.just("nan"),
    st.just(1e308),
)
BYTES = st.one_of(
    st.binary(max_size=8), st.sampled_from([b"\0", b"\xff\xfe", b"\n", b"\t", b"{", b"[" * 5000, b"1e999", b"NaN"])
)


def mutate_value(value, draw):
    """A JSON value with another one, or none, at a drawn place."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 5)):
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutate_value(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], mutate_value(value[index], draw), *value[index + 1 :]]
    return draw(VALUES)


def mutate_lines(data, draw):
    """JSON lines, or one JSON value, with a value changed; None where that is not JSON."""
    try:
        lines = [data] if data.startswith(b"{\n") else data.splitlines()
        index = draw(st.integers(0, len(lines) - 1))
        value = mutate_value(json.loads(lines[index]), draw)
    except (ValueError, IndexError):
        return None
    return b"\n".join([*lines[:index], json.dumps(value).encode(), *lines[index + 1 :]]) + b"\n"


def mutate_bytes(data, draw):
    """Bytes with a stretch replaced, cut off or repeated."""
    first = draw(st.integers(0, len(data)))
    last = min(len(data), first + draw(st.integers(0, 20)))
    kind = draw(st.sampled_from(["replace", "cut", "repeat"]))
    if kind == "cut":
        return data[:first]
    return data[:first] + (draw(BYTES) if kind == "replace" else data[first:last] * 2) + data[last:]


def mutate_tensors(data, draw):
    """A file of torch with a value in its dictionaries changed."""
    import torch

    state = torch.load(io.BytesIO(data), weights_only=True)

    def change(value):
        if isinstance(value, dict) and value and draw(st.integers(0, 5)):
            key = draw(st.sampled_from(sorted(value, key=str)))
            return (
                {**value, key: change(value[key])}
                if draw(st.integers(0, 5))
                else {k: value[k] for k in value if k != key}
            )
        if isinstance(value, torch.Tensor):
            return draw(
                st.sampled_from(
                    [value[None], value.flatten()[:1], value * float("nan"), value.double(), value.to_sparse()]
                )
            )
        return draw(VALUES)

    file = io.BytesIO()
    torch.save(change(state), file)
    return file.getvalue()


def mutate(path, data, draw):
    """Another content of a file."""
    packed = path.endswith(".gz") and draw(st.integers(0, 4))
    if packed:
        data = gzip.decompress(data)
    if path.endswith(".pt") and draw(st.integers(0, 2)):
        return mutate_tensors(data, draw)
    new = mutate_lines(data, draw) if draw(st.integers(0, 3)) else None
    new = mutate_bytes(data, draw) if new is None else new
    return gzip.compress(new, 1) if packed else new


@pytest.mark.slow
@pytest.mark.parametrize("path", READERS)
def test_mutated_files(path, world, run_program, capfd, unchanged):
    check(path, 20, world, run_program, capfd, unchanged)


@pytest.mark.parametrize("path", ["train.jsonl", "data/cuts/train.jsonl", "train.yaml", "model/config.json"])
def test_a_few_mutated_files(path, world, run_program, capfd, unchanged):
    check(path, 5, world, run_program, capfd, unchanged)


def check(path, number, world, run_program, capfd, unchanged):
    program, argv = READERS[path]
    original = (world / path).read_bytes()

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        (world / path).write_bytes(mutate(path, original, data.draw))
        for left in (world / "out", world / "exp/decode_greedy_search"):
            if left.is_dir():
                shutil.rmtree(left)
        (world / "out").unlink(missing_ok=True)
        capfd.readouterr()
        with unchanged(grows=[".idx.npz", "gram.arpa"]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = run_program(program, argv)
        err = capfd.readouterr().err
        assert "Traceback" not in err and status in (0, 1, 2), err
        assert err.count("\n") == (status > 0) and len(err) < 6000, err[:2000]

    run()
