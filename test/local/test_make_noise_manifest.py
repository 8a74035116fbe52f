"""Noise from a folder of recordings to what training mixes in."""

import io
import os
import shutil

import numpy as np
import pytest
import soundfile
from lhotse import RecordingSet

from rnnt.data.audio import write_audio


def test_every_readable_file_is_taken(tmp_path, program, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a/rain.wav", "b/rain.flac", "c.wav"):
        (tmp_path / "noise" / name).parent.mkdir(parents=True, exist_ok=True)
        write_audio(tmp_path / "noise" / name, np.zeros(8000), 8000)
    (tmp_path / "noise" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "noise" / "readme.txt").write_text("no audio")
    program("make_noise_manifest").main(["--noise-dir", "noise", "--nj", "2"])
    recordings = RecordingSet.from_file("data/noise_manifests/noise_recordings.jsonl.gz")
    assert sorted(recording.id for recording in recordings) == ["a-rain", "b-rain", "c"]
    printed = capsys.readouterr().out
    assert "noise: 3 of 4 recordings" in printed and f"warning: {tmp_path}/noise/broken.wav: " in printed


def test_what_training_could_not_mix_in_is_left_out(tmp_path, program, capsys):
    """A stereo file, a NaN in the midst, half a file, and none: training may draw any part of any file."""
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32) / 10
    soundfile.write(tmp_path / "stereo.wav", np.stack([noise, noise], 1), 8000)
    soundfile.write(tmp_path / "empty.wav", noise[:0], 8000)
    shutil.copy(tmp_path / "stereo.wav", os.fsencode(tmp_path) + b"/caf\xe9.wav")
    write_audio(tmp_path / "good.wav", noise, 8000)
    (tmp_path / "half.flac").write_bytes((tmp_path / "good.wav").read_bytes()[:9000])
    flac = bytearray(encoded(np.tile(noise, 3)))
    flac[len(flac) // 3] ^= 0xFF  # only decoding tells
    (tmp_path / "damaged.flac").write_bytes(flac)
    noise[4000] = np.nan
    soundfile.write(tmp_path / "nan.wav", noise, 8000, subtype="FLOAT")
    program("make_noise_manifest").main(["--noise-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    (recording,) = RecordingSet.from_file(tmp_path / "out/noise_recordings.jsonl.gz")
    printed = capsys.readouterr().out
    assert recording.id == "good" and "noise: 1 of 7 recordings" in printed
    for name, problem in (
        ("stereo.wav", "2 channels; write one file per channel"),
        ("empty.wav", "no samples; leave it out"),
        ("half.flac", "truncated"),
        ("damaged.flac", "truncated or damaged"),
        ("nan.wav", "a sample is nan"),
        ("caf\\udce9.wav", "the path is not UTF-8; rename it"),
    ):
        assert f"{tmp_path}/{name}: {problem}" in printed


def encoded(samples):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 8000, format="FLAC")
    return buffer.getvalue()


def test_each_recording_has_a_name_of_its_own(tmp_path, program):
    for name in ("a/x.wav", "a-x.wav", "a-x.flac", "a-x-1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_audio(tmp_path / name, np.zeros(800), 8000)
    program("make_noise_manifest").main(["--noise-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    recordings = list(RecordingSet.from_file(tmp_path / "out/noise_recordings.jsonl.gz"))
    assert len({recording.id for recording in recordings}) == 4


@pytest.mark.parametrize("files, message", [([], "no audio files"), (["a.wav"], "none of 1 audio files can be read")])
def test_no_noise_is_one_line(tmp_path, program, capsys, files, message):
    for name in files:
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(SystemExit):
        program("make_noise_manifest").main(["--noise-dir", str(tmp_path), "--out", str(tmp_path / "out")])
    assert message in capsys.readouterr().err
