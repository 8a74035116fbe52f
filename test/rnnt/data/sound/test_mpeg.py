"""MP3 files whose header is missing or wrong."""

import numpy as np
import pytest

from rnnt.data.sound import AudioError
from rnnt.data.sound.mpeg import BIT_RATES, _parse

RATE = 16000
ID3 = b"ID3\x04\0\0\0\0\x01\0" + bytes(128)
TAG = b"TAG".ljust(128)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (40).to_bytes(4, "little") + bytes(16) + bytes(40)


@pytest.fixture
def vbr(write):
    """Bytes of two seconds at a bit rate that changes, 61 frames, of which the first is the header."""
    generator = np.random.default_rng(0)
    samples = np.concatenate([0.3 * generator.standard_normal(RATE), np.zeros(RATE)])
    content = write("a.mp3", samples, RATE).read_bytes()
    assert len(frames(content)) == 59 and b"Xing" in frames(content)[0]
    return content


def frames(content):
    """The frames of MP3 bytes without tags."""
    found = []
    while content:
        size = _parse(content[:4]).size
        found.append(content[:size])
        content = content[size:]
    return found


@pytest.fixture
def seconds(tmp_path, read):
    """`seconds(content)` that are read of MP3 bytes."""

    def read_bytes(content):
        (tmp_path / "x.mp3").write_bytes(content)
        return len(read(tmp_path / "x.mp3")) / RATE

    return read_bytes


def test_with_its_header_all_is_read_to_the_sample(vbr, seconds):
    for content in (vbr, ID3 + vbr, vbr + TAG, ID3 + vbr + APE, vbr + bytes(500)):
        assert seconds(content) == 2.0


def test_without_its_header_all_is_read(vbr, seconds):
    audio = b"".join(frames(vbr)[1:])
    for content in (audio, ID3 + audio, audio + TAG, audio + APE + TAG):
        # What the header tells to cut off at both ends stays.
        assert seconds(content) == pytest.approx(58 * 576 / RATE, abs=0.04)


def test_what_is_read_without_header_is_the_same_audio(vbr, tmp_path, read):
    (tmp_path / "with.mp3").write_bytes(vbr)
    (tmp_path / "without.mp3").write_bytes(b"".join(frames(vbr)[1:]))
    expected, found = read(tmp_path / "with.mp3")[:, 0], read(tmp_path / "without.mp3")[:, 0]
    errors = [np.abs(found[shift : shift + len(expected)] - expected).max() for shift in range(400, 700)]
    assert min(errors) < 1e-4


@pytest.mark.parametrize("between", [b"", ID3, TAG, TAG + ID3, APE])
def test_files_joined_by_cat_are_read_whole(vbr, seconds, between):
    assert seconds(vbr + between + vbr) == pytest.approx(4.1, abs=0.1)


@pytest.mark.parametrize("gone", [1, 20, 1000])
def test_a_cut_is_noticed(vbr, seconds, gone):
    for content in (vbr, b"".join(frames(vbr)[1:]), vbr + vbr):
        with pytest.raises(AudioError, match="truncated"):
            seconds(content[:-gone])


def test_lost_frames_are_noticed(vbr, seconds):
    with pytest.raises(AudioError, match="truncated"):
        seconds(b"".join(frames(vbr)[:-2]))


def test_something_between_the_frames_is_named(vbr, seconds):
    parts = frames(vbr)
    with pytest.raises(AudioError, match="something else than MP3 at byte"):
        seconds(b"".join(parts[1:20]) + b"garbage" + b"".join(parts[20:]))


def test_parts_of_several_rates_are_refused(vbr, write, seconds):
    other = write("b.mp3", np.zeros(44100), 44100).read_bytes()
    with pytest.raises(AudioError, match="rate or channels change"):
        seconds(vbr + other)


def test_headers_that_are_none():
    good = bytes([0xFF, 0xFB, 0x90, 0x00])  # MPEG 1, layer III, 128 kbit/s, 44100 Hz
    assert _parse(good).size == 144 * BIT_RATES[1][8] * 1000 // 44100 == 417
    for bad in (b"\xfe\xfb\x90\0", b"\xff\x1b\x90\0", b"\xff\xeb\x90\0", b"\xff\xfd\x90\0", b"\xff\xfb\xf0\0",
                b"\xff\xfb\x00\0", b"\xff\xfb\x9c\0", b"\xff\xfb\x90"):  # fmt: skip
        assert _parse(bad) is None
