"""Small data that the project makes itself, for every test that needs something to train on."""

import json
import os

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


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A folder as stages 3 to 6 leave it: train.jsonl, dev.jsonl, features.json, cmvn.json and bpe.model."""
    import sentencepiece

    from rnnt.data.config import FeatureConfig
    from rnnt.options import to_dict

    folder = tmp_path_factory.mktemp("toy")
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
    return folder


TINY_MODEL = {
    "encoder_dim": 24,
    "encoder_layers": 1,
    "subsampling_channels": 4,
    "predictor_dim": 16,
    "joiner_dim": 16,
}


@pytest.fixture
def toy_argv(toy):
    """`argv(exp_dir, **options)` for a `train.py` that trains a tiny model on the toy data in a few seconds."""

    def argv(exp_dir, **options):
        values = {
            "exp_dir": exp_dir, "manifest_dir": toy, "bpe_model": toy / "bpe.model", "num_epochs": 2, "max_duration": 6,
            "num_workers": 0, "tensorboard": "false", "threads": 1, "device": "cpu", "warm_step": 10, "warmup_steps": 5,
            "ctc_loss_scale": 0.3, "features_mask_size": 2, "frames_mask_size": 3, **TINY_MODEL, **options,
        }  # fmt: skip
        return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    return argv


@pytest.fixture
def train_watched():
    """`train(argv, *observers)`: the training of `train.py argv` in this process, watched."""
    from rnnt.options import make_parser, parse
    from rnnt.train import CLASSES, Options, run
    from rnnt.training.interruption import Interruption

    def train(argv, *observers):
        run(Options(*parse(make_parser("", *CLASSES), CLASSES, argv)[0]), observers, Interruption())

    return train
