"""Small data that the project makes itself, for every test that needs something to train on."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

# Tests share two cores: one thread each is faster than two that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = ["one", "two", "three"]
FEATURES = 8


def toy_features(words, generator):
    """Features (T, F) in which each word is 12 frames of its own bands, between stretches of silence."""
    parts = [np.zeros((4, FEATURES))]
    for word in words:
        pattern = np.zeros(FEATURES)
        pattern[WORDS.index(word) * 2 : WORDS.index(word) * 2 + 2] = 3.0
        parts += [np.tile(pattern, (12, 1)), np.zeros((4, FEATURES))]
    frames = np.concatenate(parts)
    return (frames + 0.3 * generator.standard_normal(frames.shape)).astype(np.float32)


def write_toy_set(folder, name, number, seed):
    """`<folder>/<name>.jsonl` with `number` cuts of one to four words."""
    from lhotse import CutSet, Features, LilcomChunkyWriter, MonoCut, SupervisionSegment

    generator = np.random.default_rng(seed)
    cuts = []
    with LilcomChunkyWriter(folder / f"feats-{name}") as writer:
        for i in range(number):
            words = [WORDS[k] for k in generator.integers(0, 3, generator.integers(1, 5))]
            x_TF = toy_features(words, generator)
            duration = len(x_TF) * 0.01
            cut_id = f"{name}-{i:03d}"
            features = Features(
                type="kaldi-fbank", num_frames=len(x_TF), num_features=FEATURES, frame_shift=0.01, sampling_rate=8000,
                start=0.0, duration=duration, storage_type=writer.name, storage_path=str(writer.storage_path),
                storage_key=writer.write(cut_id, x_TF), recording_id=cut_id, channels=0,
            )  # fmt: skip
            text = " ".join(words)
            supervision = SupervisionSegment(cut_id, cut_id, 0.0, duration, text=text, speaker=f"speaker-{i % 3}")
            cuts.append(MonoCut(cut_id, 0.0, duration, 0, supervisions=[supervision], features=features))
    CutSet.from_cuts(cuts).to_file(folder / f"{name}.jsonl")


def make_toy(folder):
    """Fill a folder as stages 3 to 6 leave it: train.jsonl, dev.jsonl, features.json, cmvn.json and bpe.model."""
    import sentencepiece

    from rnnt.data.config import FeatureConfig
    from rnnt.options import to_dict

    write_toy_set(folder, "train", 48, seed=1)
    write_toy_set(folder, "dev", 9, seed=2)
    features = to_dict(FeatureConfig(sampling_rate=8000, num_mel_bins=FEATURES))
    (folder / "features.json").write_text(json.dumps({**features, "computed_by": "lhotse"}))
    (folder / "cmvn.json").write_text(json.dumps({"mean": [0.6] * FEATURES, "std": [1.2] * FEATURES, "frames": 1000}))
    (folder / "text").write_text("\n".join(["one two three", "three two one", "two one"] * 5) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "bpe"), vocab_size=16, model_type="unigram",
        user_defined_symbols=["<blk>", "<sos/eos>"], unk_id=2, bos_id=-1, eos_id=-1, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A folder with toy data, see `make_toy`."""
    folder = tmp_path_factory.mktemp("toy")
    make_toy(folder)
    return folder


@pytest.fixture(scope="session")
def add_toy_set():
    """See `write_toy_set`."""
    return write_toy_set


@pytest.fixture(scope="session")
def save_untrained():
    """`save_untrained(path, model, features, bpe_model)`: an epoch-N.pt as a training writes it, of first weights."""
    from rnnt.checkpoints.files import FORMAT, save_checkpoint
    from rnnt.files import file_sha256
    from rnnt.model.transducer import Transducer
    from rnnt.options import to_dict

    def save(path, model, features, bpe_model):
        epoch = int(path.stem.split("-")[1])
        fingerprint = {
            "config": {"model": to_dict(model), "features": to_dict(features)}, "losses": ["full"],
            "tokenizer": file_sha256(bpe_model), "plan": "",
        }  # fmt: skip
        state = {
            "format": FORMAT, "model": Transducer(model).state_dict(), "objectives": {}, "scaler": {},
            "optimizer": {"state": {}, "param_groups": []}, "position": {"epoch": epoch + 1, "batch": 0, "step": epoch},
            "fingerprint": fingerprint,
        }  # fmt: skip
        save_checkpoint(path, state)

    return save


TINY_MODEL = {
    "encoder_dim": 24,
    "encoder_layers": 1,
    "subsampling_channels": 4,
    "predictor_dim": 16,
    "joiner_dim": 16,
}


CHOICES = ("encoder", "predictor", "loss", "optimizer", "schedule")


def make_argv(toy):
    """`argv(exp_dir, **options)` for a `train.py` that trains a tiny model on the toy data in a few seconds."""

    from rnnt.options import make, option_names
    from rnnt.training.config import Options

    def argv(exp_dir, **options):
        values = {
            "exp_dir": exp_dir, "manifest_dir": toy, "bpe_model": toy / "bpe.model", "num_epochs": 2, "max_duration": 6,
            "num_workers": 0, "tensorboard": "false", "threads": 1, "device": "cpu", "loss": "pruned ctc",
            "warm_step": 10, "warmup_steps": 5, "ctc_loss_scale": 0.3, "features_mask_size": 2, "frames_mask_size": 3,
            **TINY_MODEL,
        }  # fmt: skip
        choices = {name: options.get(name, values.get(name)) for name in CHOICES if name in {**values, **options}}
        allowed = option_names(make(Options, **choices))
        # Of what the components that were chosen don't have, nothing is given unless a test asks for it.
        values = {**{name: value for name, value in values.items() if name in allowed}, **options}
        return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    return argv


@pytest.fixture(scope="session")
def toy_argv(toy):
    """See `make_argv`."""
    return make_argv(toy)


@pytest.fixture(scope="session")
def skip_without_bf16():
    """`skip_without_bf16(device)`: skips where LSTM layers can't train in bfloat16, as train.py refuses to."""
    import torch

    from rnnt.distributed.device import check_precision
    from rnnt.errors import UserError

    def check(device="cpu"):
        try:
            check_precision("bf16", torch.device(device))
        except UserError as error:
            pytest.skip(str(error))

    return check


@pytest.fixture
def train_watched():
    """`train(argv, *observers)`: the training of `train.py argv` in this process, watched."""
    from rnnt.distributed.signals import Interruption
    from rnnt.options import make_parser, parse
    from rnnt.training.config import Options
    from rnnt.training.run import run

    def train(argv, *observers):
        (options,), _ = parse(make_parser("", Options), [Options], argv)
        run(options, observers, Interruption())

    return train


@pytest.fixture
def run_in_triton_interpreter():
    """Runs a file of tests in a process of its own, where Triton interprets kernels on the CPU."""

    def run(path: str) -> None:
        root = str(Path(__file__).resolve().parents[1])
        command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider", path]
        python_path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": python_path}
        done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " passed" in done.stdout

    return run


@pytest.fixture
def compile_for_gpu(tmp_path, monkeypatch):
    """Compiles a Triton kernel for a GPU (sm_80), which needs none: returns its PTX.

    Arguments are the kernel, the types of its arguments in order, and its compile-time constants.
    """
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compile_kernel(kernel, types: list[str], **constants: object) -> str:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        names = [name for name in kernel.arg_names if name not in constants]
        assert len(names) == len(types), (names, types)
        signature = {**dict(zip(names, types)), **dict.fromkeys(constants, "constexpr")}
        source = ASTSource(
            fn=kernel,
            signature={name: signature[name] for name in kernel.arg_names},
            constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
        )
        return triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]

    return compile_kernel


class PageChecker(HTMLParser):
    """Fails where tags are not closed in order; knows them, their attributes, and what a page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.tags, self.attributes, self.text = [], [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in {"meta", "br", "link", "img", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="session")
def load_file():
    """`load_file(path, name)`: the module of a file that is in no package."""

    def load(path, name):
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def open_tab(load_file):
    """`open_tab` of chromium.py; a test that asks for it needs Chromium."""
    pytest.importorskip("websockets")
    module = load_file(Path(__file__).with_name("chromium.py"), "chromium")
    if module.CHROMIUM is None:
        pytest.skip("needs Chromium")
    return module.open_tab


@pytest.fixture(scope="session")
def checked_page():
    """`checked_page(html)` is the `PageChecker` of a page that is well-formed, as are its drawings."""

    def check(text):
        checker = PageChecker()
        checker.feed(text)
        assert checker.open == []
        for svg in re.findall(r"<svg.*?</svg>", text, re.S):
            ET.fromstring(svg)
        return checker

    return check
