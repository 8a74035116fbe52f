import numpy as np
import pytest
import soundfile

from rnnt.data.audio import write_audio
from rnnt.data.sound.resampling import resample
from rnnt.errors import UserError


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_samples_come_back(tmp_path, suffix):
    samples = np.sin(np.arange(800) / 10).astype(np.float32) / 2
    write_audio(tmp_path / f"a.{suffix}", samples, 8000)
    back, rate = soundfile.read(tmp_path / f"a.{suffix}", dtype="float32")
    info = soundfile.info(tmp_path / f"a.{suffix}")
    assert (rate, info.subtype, info.format) == (8000, "PCM_16", suffix.upper())
    np.testing.assert_allclose(back, samples, atol=2**-15)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"b/a\.wav: can't write it"):
        write_audio(tmp_path / "b" / "a.wav", np.zeros(10, dtype=np.float32), 8000)


def test_resampling_keeps_a_tone_and_channels():
    time = np.arange(8001) / 8000
    samples = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (440, 1000)]).astype(np.float32)
    assert resample(samples, 8000, 8000) is samples
    up = resample(samples, 8000, 16000)
    assert up.shape == (2, 16002)
    expected = np.stack([np.sin(2 * np.pi * hertz * np.arange(16002) / 16000) for hertz in (440, 1000)])
    np.testing.assert_allclose(up[:, 200:-200], expected[:, 200:-200], atol=0.01)
