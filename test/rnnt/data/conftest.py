"""A set of made recordings with cuts."""

import json

import numpy as np
import pytest

RATE = 8000


def made_cuts(folder, number=6, rate=RATE, seed=0):
    """`number` cuts of half a second and more of noise, with text, over WAV files in `folder`."""
    from lhotse import Recording, SupervisionSegment

    from rnnt.data.audio import write_audio

    generator = np.random.default_rng(seed)
    cuts = []
    for i in range(number):
        path = folder / f"utt-{seed}-{i}.wav"
        write_audio(path, 0.1 * generator.standard_normal(rate // 2 + 997 * i).astype(np.float32), rate)
        cut = Recording.from_file(path).to_cut()
        cut.id = f"utt-{seed}-{i}"
        cut.supervisions = [SupervisionSegment(cut.id, cut.recording_id, 0.0, cut.duration, text="one two")]
        cuts.append(cut)
    return cuts


@pytest.fixture
def audio_set(tmp_path):
    """A folder with on-the-fly cuts as stage 6 leaves them: train.jsonl and features.json (8 kHz, 20 bins)."""
    from lhotse import CutSet

    from rnnt.data.config import FeatureConfig
    from rnnt.options import to_dict

    CutSet.from_cuts(made_cuts(tmp_path)).to_file(tmp_path / "train.jsonl")
    (tmp_path / "features.json").write_text(json.dumps(to_dict(FeatureConfig(sampling_rate=RATE, num_mel_bins=20))))
    return tmp_path
