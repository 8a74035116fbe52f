"""Tables, manifests and files of ours with values of the wrong type, or what is no JSON: file and line are named."""

import gzip
import json

import pytest

NESTED = "[" * 100_000
LONG = "x" * 3000
VALUES = {
    "list": [1],
    "object": {"a": 1},
    "null": None,
    "true": True,
    "fraction": 0.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "half a pair": "\ud800",
    "NUL": "a\0b",
}
TABLE = {
    "audio": set(),
    "text": {"null"},
    "id": {"null"},
    "speaker": {"null"},
    "start": {"null", "fraction"},
    "end": {"null", "fraction"},
}
ACCEPTED = {"text": {"NUL"}, "id": {"NUL"}, "speaker": {"NUL"}}


@pytest.mark.parametrize("value", [*VALUES, "text", "negative", "empty", "missing", "long path", "huge"])
@pytest.mark.parametrize("key", TABLE)
def test_json_lines(key, value, edit_row, refused):
    legal = TABLE[key] | ACCEPTED.get(key, set())
    others = {
        "text": "one",
        "negative": -1,
        "empty": "",
        "missing": ...,
        "long path": f"{LONG}/{LONG}.wav",
        "huge": 10**400,
    }
    if (
        value in legal
        or (value in others and key in ("text", "id", "speaker"))
        or (key != "audio" and value in ("empty", "missing"))
    ):
        pytest.skip("it is legal")
    edit_row("train.jsonl", 3, key, {**VALUES, **others}[value])
    refused("import_corpus", ["--sets", "train=train.jsonl", "--out", "m"], "train.jsonl:3: ")


LINES = {
    "a list": b"[1, 2]",
    "a number": b"3",
    "a text": b'"x"',
    "null": b"null",
    "cut off": b'{"audio": "a',
    "nothing": b"{}",
    "two objects": b"{} {}",
    "deep": NESTED.encode(),
    "not UTF-8": b'{"audio": "\xff"}',
    "NUL": b"\0",
    "UTF-16": "{}".encode("utf-16"),
    "a long number": b'{"audio": 1, "text": ' + b"9" * 5000 + b"}",
    "a tag": b"<html>",
}
MANIFESTS = {
    "table": ("import_corpus", ["--sets", "train=train.jsonl", "--out", "m"], "train.jsonl"),
    "lhotse": (
        "import_corpus",
        ["--sets", "train=train_recordings.jsonl.gz", "--out", "m"],
        "train_recordings.jsonl.gz",
    ),
    "supervisions": (
        "import_corpus",
        ["--sets", "train=train_recordings.jsonl.gz", "--out", "m"],
        "train_supervisions.jsonl.gz",
    ),
    "stage 3 recordings": (
        "compute_fbank",
        ["--out", "f", "--sets", "train"],
        "data/manifests/train_recordings.jsonl.gz",
    ),
    "stage 3 supervisions": (
        "compute_fbank",
        ["--out", "f", "--sets", "train"],
        "data/manifests/train_supervisions.jsonl.gz",
    ),
    "noise": (
        "compute_fbank",
        ["--out", "f", "--sets", "noise", "--window", "1", "--manifest-dir", "data/noise_manifests"],
        "data/noise_manifests/noise_recordings.jsonl.gz",
    ),
    "stage 5": ("train_bpe", ["--vocab-size", "14", "--out", "l"], "data/manifests/train_supervisions.jsonl.gz"),
    "stage 6": ("validate", ["--bpe-model", "data/lang/bpe.model", "--out", "c"], "data/fbank/train.jsonl.gz"),
    "training": ("train", ["--exp-dir", "e", "--bpe-model", "data/lang/bpe.model"], "data/cuts/train.jsonl"),
    "decoding": ("decode", ["--exp-dir", "exp", "--decode-sets", "dev"], "data/cuts/dev.jsonl"),
    "export": ("export_kaldi", ["--out", "k", "--sets", "train"], "data/manifests/train_recordings.jsonl.gz"),
    "conversion": (
        "egs/librispeech/ASR/mlperf/convert_to_wav.py",
        ["--set", "train", "--out", "w"],
        "data/manifests/train_supervisions.jsonl.gz",
    ),
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_lines_that_are_no_items(kind, line, edit, refused):
    program, argv, path = MANIFESTS[kind]

    def change(text):
        rows = text.encode().splitlines()
        return b"\n".join([rows[0], LINES[line], *rows[2:]]) + b"\n"

    edit(path, change)
    refused(program, argv, path, "2", grows=[".idx.npz"])


BROKEN = {
    "cut off": lambda data: data[: len(data) // 2],
    "not compressed": lambda data: b"{}\n" * 3,
    "zeros": lambda data: bytes(len(data)),
    "a bit": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :],
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("kind", [kind for kind, (_, _, path) in MANIFESTS.items() if path.endswith(".gz")])
def test_broken_archives(kind, fault, world, refused):
    program, argv, path = MANIFESTS[kind]
    if (kind, fault) == ("supervisions", "empty"):
        pytest.skip("the recordings are named")
    (world / path).write_bytes(BROKEN[fault]((world / path).read_bytes()))
    refused(program, argv, path)


@pytest.mark.parametrize("what", ["missing", "a folder", "a loop of links"])
@pytest.mark.parametrize("kind", MANIFESTS)
def test_manifests_that_are_no_files(kind, what, world, refused):
    program, argv, path = MANIFESTS[kind]
    (world / path).unlink()
    if what == "a folder":
        (world / path).mkdir()
    elif what == "a loop of links":
        (world / path).symlink_to((world / path).name)
    refused(program, argv, path)


# Keys of lhotse's objects by the program that reads them: (kind of MANIFESTS, line, keys).
KEYS = {
    "lhotse": [
        "id",
        "sources",
        "sources.0",
        "sources.0.type",
        "sources.0.source",
        "sources.0.channels",
        "sampling_rate",
        "num_samples",
        "duration",
        "channel_ids",
    ],
    "supervisions": ["id", "recording_id", "start", "duration", "channel", "text", "speaker"],
    "stage 3 recordings": ["id", "sources", "sampling_rate", "num_samples", "duration"],
    "stage 3 supervisions": ["id", "recording_id", "start", "duration", "text", "speaker"],
    "stage 5": ["text", "id"],
    "stage 6": [
        "id",
        "type",
        "start",
        "duration",
        "channel",
        "supervisions",
        "supervisions.0",
        "supervisions.0.text",
        "features",
        "features.storage_path",
        "features.storage_key",
        "features.num_frames",
        "features.frame_shift",
        "recording.sources",
    ],
    "training": ["id", "duration", "supervisions.0.text", "features.storage_type", "features.storage_key", "recording"],
    "decoding": ["duration", "supervisions.0.speaker", "features.start"],
}
# What null, a missing key or a whole number may stand for.
MAYBE = {
    "channel_ids",
    "text",
    "speaker",
    "supervisions",
    "supervisions.0.text",
    "supervisions.0.speaker",
    "recording",
    "features",
}
WRONG = {
    "list": ["x"],
    "object": {"x": []},
    "null": None,
    "true": True,
    "NaN": float("nan"),
    "NUL": "a\0b",
    "half a pair": "\udfff",
    "negative": -7.5,
    "number as text": "1",
}
FITS = {
    "null": {"channel"},
    "number as text": {
        "features.storage_path",
        "features.storage_key",
        "id",
        "recording_id",
        "text",
        "speaker",
        "sources.0.source",
        "type",
        "supervisions.0.text",
        "supervisions.0.speaker",
    },
    "negative": {"start", "features.start"},
}


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("kind, key", [(kind, key) for kind, keys in KEYS.items() for key in keys])
def test_values_of_the_wrong_type(kind, key, value, edit_row, refused):
    if (
        (value == "null" and key in MAYBE)
        or key in FITS.get(value, ())
        or (value == "list" and key in ("supervisions", "channel"))
    ):
        pytest.skip("it is legal, or another fault")
    program, argv, path = MANIFESTS[kind]
    edit_row(path, 2, key, WRONG[value])
    refused(program, argv, path, "2", grows=[".idx.npz"])


TEXTS = {
    "tsv: header": ("train.tsv", "audio\twords\na\tb\n", "train.tsv:1"),
    "tsv: header twice": ("train.tsv", "audio\ttext\ttext\na\tb\tc\n", "train.tsv:1"),
    "tsv: columns": ("train.tsv", "audio\ttext\naudio/train-0.wav\n", "train.tsv:2"),
    "tsv: empty": ("train.tsv", "", "train.tsv"),
    "tsv: header alone": ("train.tsv", "audio\ttext\n", "train.tsv"),
    "tsv: not UTF-8": ("train.tsv", b"audio\ttext\na\t\xff\n", "train.tsv:2"),
    "tsv: UTF-16": ("train.tsv", "audio\ttext\n".encode("utf-16"), "train.tsv:1"),
    "tsv: long path": ("train.tsv", f"audio\ttext\n{LONG}.wav\ta\n", "train.tsv:2"),
    "tsv: NUL": ("train.tsv", "audio\ttext\na\0.wav\ta\n", "train.tsv:2"),
    "tsv: no audio": ("train.tsv", "audio\ttext\n\ta\n", "train.tsv:2"),
    "tsv: a folder": ("train.tsv", "audio\ttext\naudio\ta\n", "train.tsv:2"),
    "tsv: start nan": ("train.tsv", "audio\ttext\tstart\naudio/train-0.wav\ta\tnan\n", "train.tsv:2"),
    "tsv: start inf": ("train.tsv", "audio\ttext\tstart\naudio/train-0.wav\ta\tinf\n", "train.tsv:2"),
    "tsv: start negative": ("train.tsv", "audio\ttext\tstart\naudio/train-0.wav\ta\t-1\n", "train.tsv:2"),
    "tsv: end before start": ("train.tsv", "audio\ttext\tstart\tend\naudio/train-0.wav\ta\t0.3\t0.1\n", "train.tsv:2"),
    "tsv: end behind": ("train.tsv", "audio\ttext\tend\naudio/train-0.wav\ta\t99\n", "train.tsv:2"),
    "tsv: id twice": (
        "train.tsv",
        "audio\ttext\tid\naudio/train-0.wav\ta\tx\naudio/train-1.wav\ta\tx\n",
        "train.tsv:3",
    ),
    "jsonl: empty": ("train.jsonl", "", "train.jsonl"),
    "jsonl: blank lines": ("train.jsonl", "\n\n", "train.jsonl"),
    "wav.scp: command": ("kaldi_train/wav.scp", "train-0 cat x |\n", "kaldi_train/wav.scp:1"),
    "wav.scp: no path": ("kaldi_train/wav.scp", "train-0\n", "kaldi_train/wav.scp:1"),
    "wav.scp: missing": ("kaldi_train/wav.scp", "train-0 none.wav\n", "kaldi_train/wav.scp:1"),
    "wav.scp: long": ("kaldi_train/wav.scp", f"train-0 {LONG}/{LONG}\n", "kaldi_train/wav.scp:1"),
    "wav.scp: not UTF-8": ("kaldi_train/wav.scp", b"train-0 \xff\n", "kaldi_train/wav.scp:1"),
    "wav.scp: empty": ("kaldi_train/wav.scp", "", "kaldi_train/wav.scp"),
    "wav.scp: twice": ("kaldi_train/wav.scp", "a audio/train-0.wav\na audio/train-1.wav\n", "kaldi_train/wav.scp:2"),
    "wav.scp: archive": ("kaldi_train/wav.scp", "train-0 wav.ark:123\n", "kaldi_train/wav.scp:1"),
    "text: unknown id": ("kaldi_train/text", "nobody one\n", "kaldi_train/text:1"),
    "text: missing id": ("kaldi_train/text", "train-0 one\n", "kaldi_train"),
    "text: not UTF-8": ("kaldi_train/text", b"train-0 \xff\n", "kaldi_train/text:1"),
    "text: empty": ("kaldi_train/text", "", "kaldi_train/text"),
    "utt2spk: twice": ("kaldi_train/utt2spk", "train-0 a\ntrain-0 b\n", "kaldi_train/utt2spk:2"),
    "utt2spk: unknown": ("kaldi_train/utt2spk", "nobody a\n", "kaldi_train/utt2spk:1"),
    "segments: words": ("kaldi_train/segments", "u train-0 0\n", "kaldi_train/segments:1"),
    "segments: recording": ("kaldi_train/segments", "u nobody 0 1\n", "kaldi_train/segments:1"),
    "segments: nan": ("kaldi_train/segments", "u train-0 nan 1\n", "kaldi_train/segments:1"),
    "segments: text": ("kaldi_train/segments", "u train-0 a 1\n", "kaldi_train/segments:1"),
    "segments: empty": ("kaldi_train/segments", "", "kaldi_train/segments"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_tables(kind, world, refused):
    path, content, place = TEXTS[kind]
    (world / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = path.split("/")[0]
    refused("import_corpus", ["--sets", f"train={source}", "--out", "m"], place)


SETS = {
    "no equals": "train",
    "no path": "train=",
    "no name": "=train.tsv",
    "missing": "train=none.tsv",
    "slash": "a/b=train.tsv",
    "parent": "..=train.tsv",
    "another kind": "train=ref.trn",
    "a folder without wav.scp": "train=audio",
    "a long path": f"train={LONG}",
    "below a file": "train=train.tsv/x",
}


@pytest.mark.parametrize("kind", SETS)
def test_names_of_sets(kind, refused):
    refused("import_corpus", ["--sets", SETS[kind], "--out", "m"], status=1)


@pytest.mark.parametrize(
    "value",
    [
        "dev",
        "dev=train",
        "dev=none:1",
        "train=train:1",
        "dev=train:0",
        "dev=train:99",
        "dev=train:x",
        "dev=train:" + "9" * 50,
    ],
)
def test_hold_out(value, refused):
    refused("import_corpus", ["--sets", "train=train.tsv", "--out", "m", "--hold-out", value], "--hold-out")


STATES = {
    "features.json of training": (
        "train",
        ["--exp-dir", "e", "--bpe-model", "data/lang/bpe.model"],
        "data/cuts/features.json",
    ),
    "cmvn.json": ("train", ["--exp-dir", "e", "--bpe-model", "data/lang/bpe.model"], "data/cuts/cmvn.json"),
    "features.json of stage 6": (
        "validate",
        ["--bpe-model", "data/lang/bpe.model", "--out", "c"],
        "data/fbank/features.json",
    ),
    "features.json of decoding": (
        "decode",
        ["--exp-dir", "exp", "--num-workers", "0", "--threads", "1"],
        "data/cuts/features.json",
    ),
    "skipped.json": ("validate", ["--bpe-model", "data/lang/bpe.model", "--out", "c"], "data/fbank/train/skipped.json"),
    "inputs.json": ("compute_fbank", ["--sets", "train"], "data/fbank/dev/inputs.json"),
    "sets": ("choose_sets", [], "data/manifests/sets"),
    "sets of stage 6": ("validate", ["--bpe-model", "data/lang/bpe.model", "--out", "c"], "data/manifests/sets"),
    "transcripts": ("make_ngram", ["--lang-dir", "data/lang"], "data/lang/transcript_words.txt"),
    "tokenizer": ("make_ngram", ["--lang-dir", "data/lang"], "data/lang/bpe.model"),
    "tokenizer of training": ("train", ["--exp-dir", "e", "--bpe-model", "data/lang/bpe.model"], "data/lang/bpe.model"),
    "tokenizer of stage 6": ("validate", ["--bpe-model", "data/lang/bpe.model", "--out", "c"], "data/lang/bpe.model"),
    "config.json of a model": ("transcribe", ["--model", "model", "audio/dev-0.wav"], "model/config.json"),
    "tokenizer of a model": ("transcribe", ["--model", "model", "audio/dev-0.wav"], "model/bpe.model"),
    "weights of a model": ("transcribe", ["--model", "model", "audio/dev-0.wav"], "model/weights.pt"),
    "model for decoding": (
        "decode",
        ["--model-dir", "model", "--exp-dir", "e", "--num-workers", "0", "--threads", "1"],
        "model/weights.pt",
    ),
}
CONTENTS = {
    "a list": b"[]",
    "an object": b"{}",
    "null": b"null",
    "a number": b"3",
    "NaN": b"NaN",
    "a text": b'"x"',
    "empty": b"",
    "cut off": b'{"a": ',
    "deep": NESTED.encode(),
    "not UTF-8": b"\xff\xfe\xfd",
    "NUL": b"\0\0",
    "a list of numbers": b"[1, 2]",
}
# A list of words is a list of sets, and any text is a transcript; nothing skipped is skipped nothing.
GOOD = {
    ("skipped.json", "a list"),
    *((state, content) for state in ("sets", "sets of stage 6") for content in ("null", "a number", "NaN")),
    *(("transcripts", content) for content in CONTENTS if content not in ("not UTF-8", "empty")),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("state", STATES)
def test_files_of_ours_with_other_contents(state, content, world, refused):
    if (state, content) in GOOD:
        pytest.skip("it is legal")
    program, argv, path = STATES[state]
    (world / path).write_bytes(CONTENTS[content])
    word = path if path != "model/config.json" else "model"
    refused(program, argv, word, grows=[".idx.npz"])


@pytest.mark.parametrize("what", ["missing", "a folder", "a loop of links"])
@pytest.mark.parametrize("state", STATES)
def test_files_of_ours_that_are_none(state, what, world, refused):
    program, argv, path = STATES[state]
    if state in ("skipped.json", "inputs.json"):
        pytest.skip("it is legal")
    (world / path).unlink()
    if what == "a folder":
        (world / path).mkdir()
    elif what == "a loop of links":
        (world / path).symlink_to((world / path).name)
    refused(program, argv, path.rpartition("/")[0])


def test_a_training_elsewhere_finds_its_features_or_says_where_it_looked(world, tmp_path, monkeypatch, refused):
    line = json.loads((world / "data/cuts/train.jsonl").read_text().splitlines()[0])
    assert line["features"]["storage_path"].startswith("data/fbank/")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    argv = [
        "--exp-dir",
        "e",
        "--model-dir",
        world / "model",
        "--manifest-dir",
        world / "data/cuts",
        "--num-workers",
        "0",
    ]
    from rnnt.decode import main

    main([str(word) for word in argv])
    (world / "data/fbank/dev").rename(world / "data/fbank/other")
    refused(
        "decode",
        argv,
        "dev.jsonl",
        "data/fbank/dev",
        f"neither from {tmp_path / 'elsewhere'} nor from",
        grows=["fbank/"],
    )


def test_relative_paths_of_lhotse_manifests(world, monkeypatch, edit, capsys):
    """They are seen from the working directory, the folder of the manifest, or the folder above it."""
    edit("train_recordings.jsonl.gz", lambda text: text.replace(f"{world.parent.parent}", ""))
    text = gzip.decompress((world / "train_recordings.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(row) for row in text.splitlines()]
    for row in rows:
        row["sources"][0]["source"] = "audio/" + row["sources"][0]["source"].rpartition("/")[2]
    folder = world / "manifests"
    folder.mkdir()
    (folder / "x_recordings.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data = gzip.decompress((world / "train_supervisions.jsonl.gz").read_bytes())
    (folder / "x_supervisions.jsonl").write_bytes(data)
    (world / "elsewhere").mkdir()
    monkeypatch.chdir(world / "elsewhere")
    argv = ["--sets", f"train={folder}/x_recordings.jsonl", "--out", "m"]
    from rnnt.data.manifest import read_items

    import_corpus(argv)
    sources = [item["sources"][0]["source"] for _, item in read_items("m/train_recordings.jsonl.gz", 1)]
    assert sources == [str(world / f"audio/train-{i}.wav") for i in range(5)]


def import_corpus(argv):
    import runpy
    import sys
    from pathlib import Path

    before = sys.argv
    sys.argv = ["import_corpus.py", *argv]
    try:
        runpy.run_path(str(Path(__file__).resolve().parents[2] / "local/import_corpus.py"), run_name="__main__")
    finally:
        sys.argv = before
