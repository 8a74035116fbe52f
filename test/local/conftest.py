"""The stage programs, loaded from their files, and a small set of recordings with manifests."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

LOCAL = Path(__file__).resolve().parents[2] / "local"
WORDS = ["one", "two", "three"]


@pytest.fixture
def program():
    """`program("train_bpe")` is the module local/train_bpe.py."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"local_{name}", LOCAL / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def write_manifests(folder, name, number, sampling_rate=8000, seed=0):
    """`number` utterances of noise, of different lengths, as WAV files and manifests below `folder`."""
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    from rnnt.data.audio import write_audio

    generator = np.random.default_rng(seed)
    recordings, supervisions = [], []
    for i in range(number):
        samples = 0.1 * generator.standard_normal(sampling_rate // 2 + 97 * i).astype(np.float32)
        path = Path(folder) / "audio" / name / f"{name}-{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, samples, sampling_rate)
        recordings.append(Recording.from_file(path))
        text = " ".join(WORDS[(i + k) % 3] for k in range(1 + i % 3))
        supervisions.append(
            SupervisionSegment(f"utt-{name}-{i}", recordings[-1].id, 0.0, recordings[-1].duration, text=text)
        )
    manifests = Path(folder) / "data" / "manifests"
    manifests.mkdir(parents=True, exist_ok=True)
    RecordingSet.from_recordings(recordings).to_file(manifests / f"{name}_recordings.jsonl.gz")
    SupervisionSet.from_segments(supervisions).to_file(manifests / f"{name}_supervisions.jsonl.gz")


@pytest.fixture
def made_manifests():
    """`write_manifests`, for tests that need other sets than those of `recipe`."""
    return write_manifests


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A folder as stage 1 leaves it, with the sets train (8 utterances) and dev (3); the working directory."""
    monkeypatch.chdir(tmp_path)
    write_manifests(tmp_path, "train", 8, seed=1)
    write_manifests(tmp_path, "dev", 3, seed=2)
    return tmp_path
