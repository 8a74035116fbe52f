"""The reader of audio files: all of a file is read, whatever its form, or it is refused."""

import io
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from rnnt.data.sound import AudioError
from rnnt.data.sound.audio_file import AudioFile, check_samples

RATE = 8000


def test_all_of_a_file_is_read(write, read, suffix, speech):
    samples = read(write(f"a.{suffix}", speech))
    assert samples.shape[1] == 1 and samples.dtype == np.float32
    assert len(samples) == pytest.approx(len(speech), abs=1152 if suffix == "mp3" else 600)
    if suffix != "mp3":
        np.testing.assert_allclose(samples[: len(speech), 0], speech[: len(samples)], atol=0.15)


@pytest.mark.parametrize("missing", [1, 30, 0.1, 0.5])
def test_a_truncated_file_is_refused(write, read, suffix, speech, missing):
    path = write(f"a.{suffix}", speech)
    content = path.read_bytes()
    cut = missing if isinstance(missing, int) else int(missing * len(content))
    path.write_bytes(content[:-cut])
    with pytest.raises(AudioError, match="truncated|damaged") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    # It is noticed when the file is opened, before anything is done with it.
    with pytest.raises(AudioError, match="truncated"):
        AudioFile(path)


@pytest.mark.parametrize("start", [1, 700, 9999, 15900])
def test_a_part_is_what_the_whole_has_there(write, read, suffix, speech, start):
    path = write(f"a.{suffix}", speech)
    whole = read(path)
    with AudioFile(path) as file:
        file.seek(start)
        part = file.read(500)
    np.testing.assert_allclose(part, whole[start : start + 500], atol=1e-6)


@pytest.mark.parametrize("joined", ["wav", "big.wav", "rf64", "w64", "aiff", "au", "caf", "sph", "flac", "ogg", "opus"])
def test_files_joined_by_cat_are_refused(write, joined, speech):
    path = write(f"a.{joined}", speech)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(AudioError, match=r"(second file|several Ogg streams).*convert"):
        AudioFile(path)


def test_what_follows_the_audio_of_a_wav_is_no_second_file(write, read, speech):
    path = write("a.wav", speech)
    content = path.read_bytes()
    for tail in (b"LIST\x04\0\0\0INFO", b"LIST\x88\x13\0\0INFO" + b"\xff" * 4996, bytes(9000), b"\xff" * 100):
        path.write_bytes(content + tail)
        assert len(read(path)) == len(speech)


def unknown_length(flac):
    """FLAC as an encoder writes it into a pipe: no number of samples, no checksum."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(20) + flac[42:]


def test_flac_of_unknown_length_is_read_whole(write, read, speech):
    path = write("a.flac", speech)
    expected = read(path)
    path.write_bytes(unknown_length(path.read_bytes()))
    np.testing.assert_array_equal(read(path), expected)
    with AudioFile(path) as file:
        file.seek(15000)
        np.testing.assert_array_equal(file.read(5000), expected[15000:])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(AudioError, match="truncated"):
        read(path)


@pytest.mark.parametrize("claimed", [0x7FFFFFFF - 8, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_length(write, read, speech, claimed):
    path = write("a.wav", speech)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", claimed)
    path.write_bytes(content)
    assert len(read(path)) == len(speech)


@pytest.mark.parametrize("claimed", [0, 1000])
def test_a_wav_that_says_less_than_it_has_is_refused(write, speech, claimed):
    """As a recorder leaves it that died before it wrote the size."""
    path = write("a.wav", speech)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", claimed)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="more follows the audio than its header says.*mend the header"):
        AudioFile(path)


def test_au_of_unknown_length(write, read, speech):
    path = write("a.au", speech)
    content = bytearray(path.read_bytes())
    content[8:12] = b"\xff" * 4
    path.write_bytes(content)
    assert len(read(path)) == len(speech)


@pytest.mark.parametrize("name", ["take.raw", "caf\udce9.wav", "no_suffix", "x.mp3"])
def test_the_content_decides_and_not_the_name(write, read, tmp_path, speech, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    shutil.copy(write("a.wav", speech), path)
    assert len(read(os.fsdecode(path))) == len(speech)


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "the file is empty"),
        (b"no audio", "not readable as audio"),
        (bytes(2000), "not readable as audio"),
        (b"RIFF\0\0\0\0WAVE", "not readable as audio"),
        (b"NIST_1A\n   1024\nend_head\n".ljust(1024), "does not say how long"),
        (b"OggS", "truncated"),
        (b"ID3\x04\0\0\0\0\0\0", "not readable as audio"),
        (b"\xff\xfb", "not readable as audio"),
        (b"\xff\xfb\x90\0" + bytes(60), "truncated"),
        (b"RF64\0\0\0\0WAVEds64\x1c\0\0\0", "not readable as audio"),
        (b"caff\0\1\0\0data" + b"\xff" * 8, "not readable as audio"),
    ],
)
def test_what_is_no_audio_is_refused(tmp_path, content, problem):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=problem):
        AudioFile(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["none.wav", "."])
def test_what_cannot_be_opened_is_refused(tmp_path, name):
    with pytest.raises(AudioError, match="can't be opened: (No such file|Is a directory)"):
        AudioFile(tmp_path / name)


def test_formats_whose_length_is_not_checked_are_refused(tmp_path, speech):
    soundfile.write(tmp_path / "a.voc", speech, RATE, format="VOC")
    with pytest.raises(AudioError, match="VOC files are not read.*convert"):
        AudioFile(tmp_path / "a.voc")


@pytest.mark.parametrize("rate", [0, 1, 999, 4_000_000_000])
def test_impossible_rates_are_refused(write, speech, rate):
    path = write("a.wav", speech)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    with pytest.raises(AudioError, match="samples/s by its header|not readable"):
        AudioFile(path)


def test_no_samples_are_no_error_of_the_file(write, read):
    assert read(write("a.wav", np.zeros(0))).shape == (0, 1)


def test_bytes_and_open_files_are_read(write, speech, tmp_path):
    path = write("a.flac", speech)
    with AudioFile(io.BytesIO(path.read_bytes())) as file:
        assert file.num_samples == len(speech)
    with open(path, "rb") as source, AudioFile(source) as file:
        assert file.num_samples == len(speech)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -3e9])
def test_samples_that_are_no_numbers_are_refused(value):
    samples = np.full((100, 2), 2.0**31, np.float32)
    check_samples(samples)
    samples[70, 1] = value
    with pytest.raises(AudioError, match="not a finite number"):
        check_samples(samples)


def test_damage_of_any_kind_is_an_audio_error(write, suffix, speech, tmp_path):
    content = write(f"a.{suffix}", speech[:4000]).read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(25):
        damaged = bytearray(content)
        for _ in range(generator.integers(1, 4)):
            position = int(generator.integers(min(len(damaged), generator.choice([16, 64, 300, 10**6]))))
            end = position + int(generator.integers(1, 9))
            new = generator.bytes(generator.choice([0, 1, end - position]))
            damaged[position:end] = new
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            with AudioFile(tmp_path / "damaged") as file:
                assert sum(map(len, file.blocks())) == file.num_samples
        except AudioError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 5


def test_files_are_closed(write, speech, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    path = write("a.wav", speech)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        AudioFile(path).close()
        with pytest.raises(AudioError):
            AudioFile(tmp_path / "bad.wav")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_pipe_with_a_name_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["sh", "-c", f"printf RIFF > {tmp_path}/pipe"])
    with pytest.raises(AudioError, match="can't be read"):
        AudioFile(tmp_path / "pipe")
    writer.wait()
