"""lhotse reads and resamples as everything else here does."""

import numpy as np
import pytest
from lhotse import AudioSource, MonoCut, Recording
from lhotse.serialization import deserialize_item

from rnnt.data.audio import read_samples, set_up_lhotse
from rnnt.data.config import FeatureConfig
from rnnt.data.sound import AudioError

RATE = 8000
CONFIG = FeatureConfig(sampling_rate=RATE, num_mel_bins=20)


@pytest.fixture(autouse=True)
def _lhotse():
    set_up_lhotse()


def cut_of(path, **keywords):
    return MonoCut("u", channel=0, recording=Recording.from_file(path), **keywords)


def test_recordings_know_the_length_of_any_form(write, suffix, speech):
    recording = Recording.from_file(write(f"a.{suffix}", speech))
    assert recording.sampling_rate == RATE and recording.duration == pytest.approx(2.0, abs=0.15)


def test_parts_of_any_form_are_read(write, read, suffix, speech):
    path = write(f"a.{suffix}", speech)
    whole = read(path)[:, 0]
    for start, duration in ((0.0, len(whole) / RATE), (0.5, 1.0), (0.1, len(whole) / RATE - 0.1)):
        samples = read_samples(cut_of(path, start=start, duration=duration), CONFIG)
        first = round(start * RATE)
        np.testing.assert_allclose(samples, whole[first : first + len(samples)], atol=1e-6)
        assert len(samples) == round(duration * RATE)


def test_truncated_audio_is_named_in_one_line(write, speech):
    path = write("a.wav", speech)
    cut = cut_of(path, start=0.0, duration=1.0)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(AudioError) as caught:
        read_samples(cut, CONFIG)
    assert str(caught.value) == "truncated: the file ends before the audio does; get it again"


def test_samples_that_are_no_numbers_matter_only_where_they_are(tmp_path, speech):
    import soundfile

    speech[12000] = np.nan
    soundfile.write(tmp_path / "a.wav", speech, RATE, subtype="FLOAT")
    assert len(read_samples(cut_of(tmp_path / "a.wav", start=0.0, duration=1.0), CONFIG)) == 8000
    with pytest.raises(AudioError, match="a sample is nan"):
        read_samples(cut_of(tmp_path / "a.wav", start=1.0, duration=1.0), CONFIG)


def test_rates_and_speeds_without_a_large_filter_bank(write, speech, monkeypatch):
    import lhotse.augmentation.torchaudio

    monkeypatch.setattr(
        lhotse.augmentation.torchaudio, "get_or_create_resampler", lambda *rates: pytest.fail(str(rates))
    )
    cut = cut_of(write("a.wav", speech, 48001), start=0.0, duration=16000 / 48001).resample(RATE)
    for factor in (1.0, 0.9137):
        copy = cut.perturb_speed(factor)
        # With transforms that lhotse made before it was set up, and as manifests hold it.
        for one in (copy, deserialize_item(copy.to_dict())):
            assert len(read_samples(one, CONFIG)) == pytest.approx(16000 * 8000 / 48001 / factor, abs=1)


def test_a_source_in_memory_is_read(write, speech):
    content = write("a.flac", speech).read_bytes()
    recording = Recording("r", [AudioSource("memory", [0], content)], RATE, len(speech), len(speech) / RATE)
    assert recording.load_audio().shape == (1, len(speech))
