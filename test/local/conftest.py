"""The stage programs, loaded from their files, and a small set of recordings with manifests."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

LOCAL = Path(__file__).resolve().parents[2] / "local"
WORDS = ["one", "two", "three"]


@pytest.fixture(scope="session")
def load_program(load_file):
    """`load_program("train_bpe")` is the module local/train_bpe.py, for fixtures that last longer than a test."""
    return lambda name: load_file(LOCAL / f"{name}.py", f"local_{name}")


@pytest.fixture
def program(load_program):
    """`program("train_bpe")` is the module local/train_bpe.py."""
    return load_program


@pytest.fixture
def audio_cuts(tmp_path_factory):
    """`audio_cuts(loud)`: a folder with train.jsonl over six WAV files of 8 kHz, and features.json; 30 is too loud."""
    from lhotse import CutSet, Recording, SupervisionSegment

    from rnnt.data.config import FeatureConfig
    from rnnt.options import to_dict

    def make(loud=1.0):
        folder, generator, cuts = tmp_path_factory.mktemp("audio"), np.random.default_rng(0), []
        for i in range(6):
            path = folder / f"utt-{i}.wav"
            samples = loud * 0.1 * generator.standard_normal(4000 + 997 * i)
            subtype = "PCM_16" if loud == 1 else "FLOAT"
            soundfile.write(path, samples.astype(np.float32), 8000, subtype=subtype)
            cut = Recording.from_file(path).to_cut()
            cut.id = f"utt-{i}"
            cut.supervisions = [SupervisionSegment(cut.id, cut.recording_id, 0.0, cut.duration, text="one two")]
            cuts.append(cut)
        CutSet.from_cuts(cuts).to_file(folder / "train.jsonl")
        (folder / "features.json").write_text(json.dumps(to_dict(FeatureConfig(sampling_rate=8000, num_mel_bins=20))))
        return folder

    return make


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
