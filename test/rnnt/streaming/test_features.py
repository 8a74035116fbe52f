"""Features of pieces are those of the whole."""

import numpy as np
import pytest

from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.data.sound.resampling import resample
from rnnt.errors import UserError
from rnnt.options import make
from rnnt.streaming.features import FeatureStream, ResampleStream, take_features

PIECES = {"single samples": (1, 1), "small": (1, 300), "large": (200, 9000), "all": (10**6, 10**6)}


def pieces(samples, sizes, seed=0):
    generator = np.random.default_rng(seed)
    position = 0
    while position < len(samples):
        size = int(generator.integers(sizes[0], sizes[1] + 1))
        yield samples[position : position + size]
        position += size


def noise(length, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


@pytest.mark.parametrize("sizes", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("rate,wanted", [(16000, 8000), (8000, 16000), (44100, 16000), (16000, 16000), (11025, 8000)])
def test_resampling(rate, wanted, sizes):
    samples = noise(3000 if sizes == (1, 1) else 30000)
    stream = ResampleStream(rate, wanted)
    found = [stream.accept(piece) for piece in pieces(samples, sizes)]
    found.append(stream.accept(samples[:0], is_last=True) if rate != wanted else samples[:0])
    np.testing.assert_allclose(np.concatenate(found), resample(samples, rate, wanted), atol=1e-6)


def test_resampling_from_an_odd_rate():
    samples = noise(12000)
    stream = ResampleStream(48001, 8000)
    found = [stream.accept(piece) for piece in pieces(samples, (200, 4000))] + [stream.accept(samples[:0], True)]
    np.testing.assert_allclose(np.concatenate(found), resample(samples, 48001, 8000), atol=1e-6)


@pytest.mark.parametrize("sizes", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("snip_edges", [False, True])
@pytest.mark.parametrize("rate", [8000, 22050])
def test_features(rate, snip_edges, sizes):
    config = make(FeatureConfig, sampling_rate=8000, num_mel_bins=20, snip_edges=snip_edges)
    extractor = make_extractor(config)
    for length in (2500, 2539) if sizes == (1, 1) else (20011, 4000, 90):
        samples = noise(length * rate // 8000, length)
        stream = FeatureStream(config, extractor)
        found = [stream.accept(piece, rate) for piece in pieces(samples, sizes)] + [stream.finish()]
        resampled = resample(samples, rate, 8000)
        wanted_TF = extractor.extract(resampled) if len(resampled) >= 200 or not snip_edges else np.zeros((0, 20))
        np.testing.assert_allclose(np.concatenate(found), wanted_TF, atol=1e-4, rtol=1e-5)
        assert stream.frames == len(wanted_TF)


def test_frames_come_as_soon_as_their_samples_are_there():
    config = make(FeatureConfig, sampling_rate=8000, num_mel_bins=20)
    stream = FeatureStream(config, make_extractor(config))
    assert len(stream.accept(noise(200 + 80))) == 1 and len(stream.accept(noise(80))) == 1


def test_what_can_not_stream_says_so():
    config = make(FeatureConfig, frontend="slaney_log_mel", sampling_rate=16000)
    with pytest.raises(UserError, match="normalises each utterance as a whole"):
        FeatureStream(config, make_extractor(config))
    config = make(FeatureConfig, sampling_rate=8000, num_mel_bins=20)
    stream = FeatureStream(config, make_extractor(config))
    stream.accept(noise(100), 16000)
    with pytest.raises(UserError, match="16000 samples/s can't go on with 8000"):
        stream.accept(noise(100))
    assert len(FeatureStream(config, make_extractor(config)).finish()) == 0


@pytest.mark.parametrize("snip_edges", [False, True])
def test_streams_whose_features_are_computed_together(snip_edges, monkeypatch):
    """Streams that begin, end, come in pieces and at rates of their own."""
    monkeypatch.setattr("rnnt.streaming.features.BLOCK", 30)
    config = make(FeatureConfig, sampling_rate=8000, num_mel_bins=20, snip_edges=snip_edges)
    extractor = make_extractor(config)
    rates, lengths = (8000, 16000, 44100, 8000, 8000, 22050), (1.7, 2.3, 0.9, 0.031, 0.0, 3.1)
    audio = [noise(int(length * rate), i) for i, (rate, length) in enumerate(zip(rates, lengths))]
    coming = [list(pieces(samples, (1, 500), i)) for i, samples in enumerate(audio)]
    streams = [FeatureStream(config, extractor) for _ in audio]
    found = [[] for _ in audio]
    generator, calls = np.random.default_rng(3), 0
    for tick in range(400):
        for i, stream in enumerate(streams):
            if tick >= 5 * i and generator.random() < 0.7:
                if coming[i]:
                    stream.put(coming[i].pop(0), rates[i])
                else:
                    stream.end()
        most = int(generator.integers(0, 40))
        wanted = [(stream, min(stream.frames - stream.taken, most)) for stream in streams]
        calls += sum(count > 0 for _, count in wanted) > 2
        for parts, x_TF in zip(found, take_features(wanted)):
            parts.append(x_TF)
    assert calls > 10, "hardly ever were there streams to compute together"
    for samples, rate, parts in zip(audio, rates, found):
        resampled = resample(samples, rate, 8000)
        least = 200 if snip_edges else 80
        wanted_TF = extractor.extract(resampled) if len(resampled) >= least else np.zeros((0, 20))
        np.testing.assert_allclose(np.concatenate(parts), wanted_TF, atol=1e-4, rtol=1e-5)
