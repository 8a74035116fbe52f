"""Reading of audio: formats, blocks, truncation, arrays."""

import numpy as np
import pytest
import soundfile

from rnnt.data.sound.resampling import resample
from rnnt.errors import UserError
from rnnt.transcription.audio import ArrayAudio, FileAudio, open_audio

RATE = 8000
FORMATS = {
    "wav": "PCM_16", "flac": "PCM_16", "aiff": "PCM_24", "au": "PCM_16", "w64": "PCM_16", "ogg": "VORBIS",
    "mp3": "MPEG_LAYER_III",
}  # fmt: skip


def noise(seconds=2.0, channels=1):
    generator = np.random.default_rng(0)
    return (0.1 * generator.standard_normal((int(seconds * RATE), channels))).astype(np.float32)


def write(path, samples_NC, rate=RATE):
    soundfile.write(path, samples_NC, rate, subtype=FORMATS[path.suffix[1:]])
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_whole_file_is_read_and_a_truncated_one_refused(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", noise())
    audio = FileAudio(path)
    blocks = list(audio.blocks(RATE, RATE))
    assert audio.sampling_rate == RATE and audio.num_channels == 1 and audio.seconds == pytest.approx(2.0, abs=0.2)
    assert sum(block.shape[1] for block in blocks) == audio.num_samples
    content = path.read_bytes()
    for fraction in (0.9, 0.5):
        path.write_bytes(content[: int(fraction * len(content))])
        with pytest.raises(UserError, match=f"{path.name}.*(truncated|not readable)"):
            list(FileAudio(path).blocks(RATE, RATE))


def test_a_few_missing_bytes_are_noticed(tmp_path):
    path = write(tmp_path / "a.wav", noise())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="truncated"):
        FileAudio(path)


def test_the_header_of_a_stream_is_no_truncation(tmp_path):
    path = write(tmp_path / "a.wav", noise())
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert FileAudio(path).seconds == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("total", [1, 9, 10, 11, 17, 24, 25, 100])
def test_blocks_overlap_and_cover_all(tmp_path, total):
    samples_NC = noise()[:total].repeat(2, axis=1)
    soundfile.write(tmp_path / "a.wav", samples_NC, RATE, subtype="FLOAT")
    for audio in (FileAudio(tmp_path / "a.wav"), ArrayAudio(samples_NC.T if total > 1 else samples_NC[:, 0], RATE)):
        end = 0
        for number, block_CN in enumerate(audio.blocks(10, 7)):
            start = 7 * number
            end = start + block_CN.shape[1]
            np.testing.assert_array_equal(block_CN[0], samples_NC[start:end, 0])
        assert end == total
        # No block is made of nothing but what the one before had.
        assert number == 0 or end - start > 3


def test_bad_input_is_one_line_that_names_the_file(tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), RATE, subtype="FLOAT")
    problems = {"missing.wav": "no such file", "text.wav": "not readable", "empty.wav": "no audio", "nan.wav": "finite"}
    for name, problem in problems.items():
        with pytest.raises(UserError, match=f"{name}.*{problem}") as caught:
            list(open_audio(str(tmp_path / name)).blocks(50, 40))
        assert "\n" not in str(caught.value)


def test_arrays_need_a_rate_and_a_sensible_shape():
    assert ArrayAudio(np.array([-32768, 16384], np.int16), RATE).blocks(9, 9).__next__().tolist() == [[-1.0, 0.5]]
    assert open_audio(np.zeros((2, 50)), RATE).num_channels == 2
    with pytest.raises(UserError, match="array 3.*sampling rate"):
        open_audio(np.zeros(50), None, 3)
    for bad in (np.zeros((50, 2)), np.zeros((1, 2, 50)), np.zeros(50, np.uint8), np.zeros(0)):
        with pytest.raises(UserError, match="array"):
            open_audio(bad, RATE)


def test_resampling_keeps_a_tone():
    time = np.arange(44100) / 44100
    samples_CN = np.sin(2 * np.pi * 440 * time).astype(np.float32)[None]
    wanted = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    found = resample(samples_CN, 44100, RATE)
    assert found.shape == (1, RATE)
    np.testing.assert_allclose(found[0, 100:-100], wanted[100:-100], atol=0.01)
    assert resample(samples_CN, RATE, RATE) is samples_CN
