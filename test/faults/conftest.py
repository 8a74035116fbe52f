"""A small recipe from sources to a decoded experiment, and the check of a program that refuses what is wrong with it.

Programs run in this process, through the same `main` that a user calls. Of the tests in this folder every eighth runs
in `make test`, all of them in `make test-all`.
"""

import contextlib
import gzip
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = {"train", "decode", "score", "transcribe", "export_model"}
WORDS = ["one", "two", "three"]
RATE = 8000
SELECTED = 8
FRONT_END = ["--sampling-rate", "8000", "--num-mel-bins", "20"]
TINY = [
    "--encoder-dim", "8", "--encoder-layers", "1", "--subsampling-channels", "2", "--predictor-dim", "8",
    "--joiner-dim", "8", "--threads", "1", "--device", "cpu", "--num-workers", "0", "--max-duration", "6",
    "--features-mask-size", "2", "--frames-mask-size", "3", "--tensorboard", "false",
]  # fmt: skip
TRAIN = [
    "--exp-dir", "exp", "--manifest-dir", "data/cuts", "--bpe-model", "data/lang/bpe.model", "--num-epochs", "1", *TINY
]  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for number, item in enumerate(here):
        if number % SELECTED and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.slow)


def load(name):
    """The module of a program: `train`, `validate`, or the path of one below the root."""
    if name in LIBRARY:
        return importlib.import_module(f"rnnt.{name}")
    path = ROOT / (name if name.endswith(".py") else f"local/{name}.py")
    key = f"program_{path.parent.name}_{path.stem}"
    if key not in sys.modules:
        sys.path.insert(0, str(path.parent))
        try:
            spec = importlib.util.spec_from_file_location(key, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            sys.modules[key] = module
        finally:
            sys.path.remove(str(path.parent))
            # Recipes have modules of the same name.
            for neighbour in ("options", "download", "speak", "mllog"):
                sys.modules.pop(neighbour, None)
    return sys.modules[key]


def call(name, argv):
    """The exit status of a program."""
    try:
        load(name).main([str(word) for word in argv])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def write_sources(folder):
    """WAV files, and two sets of them as a table, JSON lines, a Kaldi data directory and lhotse manifests."""
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    from rnnt.data.audio import write_audio

    generator = np.random.default_rng(1)
    (folder / "audio").mkdir()
    for name, number in (("train", 5), ("dev", 2)):
        rows, recordings, supervisions = [], [], []
        for i in range(number):
            samples = 0.1 * generator.standard_normal(RATE // 2 + 97 * i).astype(np.float32)
            write_audio(folder / f"audio/{name}-{i}.wav", samples, RATE)
            text = " ".join(WORDS[(i + k) % 3] for k in range(1 + i % 2))
            audio = f"audio/{name}-{i}.wav"
            rows.append({"audio": audio, "text": text, "id": f"{name}-{i}", "speaker": f"s{i % 2}", "start": 0.0})
            recordings.append(Recording.from_file(folder / audio, recording_id=f"{name}-{i}"))
            supervisions.append(
                SupervisionSegment(f"{name}-{i}", f"{name}-{i}", 0.0, recordings[-1].duration, text=text, speaker="s")
            )
        keys = list(rows[0])
        table = ["\t".join(keys), *("\t".join(str(row[key]) for key in keys) for row in rows)]
        (folder / f"{name}.tsv").write_text("".join(f"{line}\n" for line in table))
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        RecordingSet.from_recordings(recordings).to_file(folder / f"{name}_recordings.jsonl.gz")
        SupervisionSet.from_segments(supervisions).to_file(folder / f"{name}_supervisions.jsonl.gz")
        kaldi = folder / f"kaldi_{name}"
        kaldi.mkdir()
        for file, column in (("wav.scp", "audio"), ("text", "text"), ("utt2spk", "speaker")):
            (kaldi / file).write_text("".join(f"{row['id']} {row[column]}\n" for row in rows))
    (folder / "ref.trn").write_text("one two (a)\nthree (b)\n")
    (folder / "hyp.trn").write_text("one (a)\nthree (b)\n")
    (folder / "train.yaml").write_text("num_epochs: 1\nencoder: lstm\nencoder_dim: 8\n")


def make_steps(folder):
    """Stages 1 to 7, noise, a training of one epoch, its decoding, the export."""
    sets = ["--sets", "train=train.tsv", "dev=dev.tsv"]
    noise = ["--window", "0.4", "--sets", "noise", "--manifest-dir", "data/noise_manifests", "--out", "data/noise"]
    for name, argv in (
        ("import_corpus", sets),
        ("make_noise_manifest", ["--noise-dir", "audio"]),
        ("compute_fbank", FRONT_END),
        ("compute_fbank", [*FRONT_END, *noise]),
        ("train_bpe", ["--vocab-size", "14", "--out", "data/lang"]),
        ("validate", ["--bpe-model", "data/lang/bpe.model"]),
        ("make_ngram", ["--lang-dir", "data/lang"]),
        ("train", TRAIN),
        ("decode", ["--exp-dir", "exp", "--num-workers", "0"]),
        ("export_model", ["--exp-dir", "exp", "--out", "model"]),
    ):
        assert call(name, argv) == 0, name


@pytest.fixture(autouse=True)
def no_bars(monkeypatch):
    """A slow machine draws no bar of progress among the lines that are counted."""
    monkeypatch.setattr("rnnt.progress.SECONDS_PER_LINE", 1e6)


@pytest.fixture
def load_program():
    """`load_program(name)`: the module of a program."""
    return load


@pytest.fixture
def run_program():
    """`run_program(name, argv)`: the exit status of a program."""
    return call


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The recipe, which no test changes."""
    folder = tmp_path_factory.mktemp("template")
    write_sources(folder)
    before = os.getcwd()
    os.chdir(folder)
    try:
        with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_steps(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def world(template, tmp_path, monkeypatch):
    """A copy of the recipe; the working directory."""
    folder = tmp_path / "world"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    return folder


def snapshot(folder):
    """`{path: hash}` of all files below a folder; a link counts as what it names."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path] = os.readlink(path)
        elif path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def unchanged(world):
    """`with unchanged():` no file that was there is another one after the block, but those with a word of `grows`."""

    @contextlib.contextmanager
    def check(grows=()):
        before = snapshot(world)
        yield
        after = snapshot(world)
        changed = [str(path.relative_to(world)) for path in before if before[path] != after.get(path)]
        assert [name for name in changed if not any(word in name for word in grows)] == []

    return check


@pytest.fixture
def one_line(capfd):
    """`one_line(program, argv, *words)`: it ends with `status` and one line on stderr, which has the words."""

    def check(program, argv, *words, status=1):
        capfd.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ended = call(program, argv)
        err = capfd.readouterr().err
        assert ended == status, err
        assert err.count("\n") == 1 and "Traceback" not in err, err
        assert len(err) < 5000, err[:300]
        missing = [word for word in words if word not in err]
        assert missing == [], err

    return check


@pytest.fixture
def refused(one_line, unchanged):
    """`refused(program, argv, *words)`: as `one_line`, and it changes no file but those with a word of `grows`."""

    def check(program, argv, *words, status=1, grows=()):
        with unchanged(grows):
            one_line(program, argv, *words, status=status)

    return check


@pytest.fixture
def edit(world):
    """`edit(path, change)` rewrites a file below the recipe; `change` maps its text, or its bytes, to new ones."""

    def rewrite(path, change):
        path = world / path
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        try:
            new = change(data.decode())
        except UnicodeDecodeError:
            new = change(data)
        new = new if isinstance(new, bytes) else new.encode("utf-8", "surrogatepass")
        path.write_bytes(gzip.compress(new) if path.suffix == ".gz" else new)

    return rewrite


@pytest.fixture
def edit_row(edit):
    """`edit_row(path, line, key, value)` sets a key (`a.b.0`) of a line (from 1) of JSON lines; `...` removes it."""

    def rewrite(path, line, key, value):
        def change(text):
            rows = text.splitlines()
            item = json.loads(rows[line - 1])
            inner, *path_of_keys = item, *key.split(".")
            for word in path_of_keys[:-1]:
                inner = inner[int(word) if isinstance(inner, list) else word]
            last = int(path_of_keys[-1]) if isinstance(inner, list) else path_of_keys[-1]
            if value is ...:
                del inner[last]
            else:
                inner[last] = value
            rows[line - 1] = json.dumps(item)
            return "".join(f"{row}\n" for row in rows)

        edit(path, change)

    return rewrite
