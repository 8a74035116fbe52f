"""local/import_corpus.py and local/export_kaldi.py: every kind of source, errors with file and line, other scripts."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.serialization import SequentialJsonlWriter
from lhotse.utils import fastcopy

from rnnt.data.audio import write_audio

ROOT = Path(__file__).resolve().parents[2]
RATE = 8000


def write_tone(path, seconds=1.0, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, 0.1 * np.sin(np.arange(int(seconds * rate)) / 5), rate)


def write_kaldi(folder, segments=True):
    """A Kaldi data directory: two recordings, or three utterances of them with `segments`."""
    folder.mkdir(parents=True)
    for name in ("rec-a.wav", "rec-b.flac"):
        write_tone(folder / "wav" / name)
    (folder / "wav.scp").write_text("rec-a wav/rec-a.wav\nrec-b wav/rec-b.flac\n")
    if segments:
        (folder / "segments").write_text("a-1 rec-a 0.00 0.40\na-2 rec-a 0.40 1.005\nb-1 rec-b 0.1 -1\n")
    utterances = ["a-1", "a-2", "b-1"] if segments else ["rec-a", "rec-b"]
    (folder / "text").write_text("".join(f"{u} здравствуй мир\n" for u in utterances), encoding="utf-8")
    (folder / "utt2spk").write_text("".join(f"{u} {u[0]}\n" for u in utterances))
    return folder


@pytest.fixture
def kaldi(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_kaldi(tmp_path / "kaldi")


@pytest.fixture
def load(program):
    """`load("train=PATH")` imports and returns {set: supervisions by id}."""

    def run(*sets, more=()):
        program("import_corpus").main(["--sets", *sets, *more])
        names = Path("data/manifests/sets").read_text().split()
        return {
            n: {s.id: s for s in SupervisionSet.from_file(f"data/manifests/{n}_supervisions.jsonl.gz")} for n in names
        }

    return run


def test_kaldi_directory(kaldi, load):
    (found,) = load("train=kaldi").values()
    assert {k: (s.recording_id, s.start, round(s.end, 3), s.speaker) for k, s in found.items()} == {
        "a-1": ("rec-a", 0.0, 0.4, "a"), "a-2": ("rec-a", 0.4, 1.0, "a"), "b-1": ("rec-b", 0.1, 1.0, "b"),
    }  # fmt: skip
    assert found["b-1"].text == "здравствуй мир"
    for recording in RecordingSet.from_file("data/manifests/train_recordings.jsonl.gz"):
        assert recording.sampling_rate == RATE and Path(recording.sources[0].source).is_absolute()


def test_two_sources_make_one_set(kaldi, tmp_path, load, program, capsys):
    write_kaldi(tmp_path / "more", segments=False)
    with pytest.raises(SystemExit):
        load("train=kaldi", "train=more")
    assert "more/wav.scp:1: recording rec-a of train differs from the one in kaldi/wav.scp:1" in capsys.readouterr().err
    assert set(load("train=kaldi", "dev=more")) == {"train", "dev"}


def test_one_utterance_in_two_sources(kaldi, tmp_path, load, capsys):
    more = write_kaldi(tmp_path / "more")
    for name in ("wav.scp", "segments"):
        (more / name).write_text((more / name).read_text().replace("rec-", "other-").replace("wav/other-", "wav/rec-"))
    with pytest.raises(SystemExit):
        load("train=kaldi", "train=more")
    assert "more/segments:1: utterance a-1 of train is already in kaldi/segments:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, rate, options",
    [
        ("a.flac", 16000, {"subtype": "PCM_24"}),
        ("a.ogg", 8000, {"format": "OGG", "subtype": "OPUS"}),
        ("a.ogg", 22050, {"format": "OGG", "subtype": "VORBIS"}),
        ("a.wav", 8000, {"subtype": "ULAW"}),
        ("a.wav", 44100, {"subtype": "FLOAT"}),
        ("a.mp3", 16000, {"format": "MP3"}),
    ],
)
def test_formats_and_rates(tmp_path, monkeypatch, load, name, rate, options):
    """What soundfile reads is imported, and read back at 16 kHz once it is resampled."""
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / name, 0.1 * np.sin(np.arange(rate) / 5), rate, **options)
    (tmp_path / "t.tsv").write_text(f"audio\ttext\n{name}\tone\n")
    (found,) = load("train=t.tsv")["train"].values()
    (recording,) = RecordingSet.from_file("data/manifests/train_recordings.jsonl.gz")
    assert recording.sampling_rate == rate and found.duration == pytest.approx(1.0, abs=0.06)
    assert recording.resample(16000).load_audio().shape == (1, round(16000 * recording.duration))


def write_table(name, content):
    """A table of one line about an audio file with this content."""
    Path(name).write_bytes(content)
    Path("t.tsv").write_text(f"audio\ttext\n{name}\tone two\n")


def bytes_of(form, samples, rate=RATE, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3"])
def test_half_a_recording_is_no_recording(tmp_path, monkeypatch, load, capsys, form):
    monkeypatch.chdir(tmp_path)
    content = bytes_of(form, 0.1 * np.sin(np.arange(RATE) / 5))
    write_table("half.audio", content[: len(content) // 2])
    with pytest.raises(SystemExit):
        load("train=t.tsv")
    error = capsys.readouterr().err
    assert "t.tsv:2: " in error and "half.audio: truncated" in error and len(error.splitlines()) == 1
    Path("wav.scp").write_text(f"r head -c {len(content) // 2} {tmp_path}/whole |\n")
    Path("whole").write_bytes(content)
    Path("text").write_text("r one two\n")
    with pytest.raises(SystemExit):
        load("train=.", more=["--allow-pipes", "true"])
    error = capsys.readouterr().err
    assert "wav.scp:1: the output of the command: truncated" in error and len(error.splitlines()) == 1
    assert not list(tmp_path.glob("data/audio/**/*.flac"))


def test_chained_ogg_is_refused_and_joined_mp3_read_whole(tmp_path, monkeypatch, load, capsys):
    monkeypatch.chdir(tmp_path)
    samples = 0.1 * np.sin(np.arange(RATE) / 5)
    write_table("two.ogg", bytes_of("OGG", samples) * 2)
    with pytest.raises(SystemExit):
        load("train=t.tsv")
    assert "t.tsv:2: " in (error := capsys.readouterr().err) and "two.ogg: several Ogg streams" in error
    write_table("two.mp3", bytes_of("MP3", samples, bitrate_mode="VARIABLE") * 2)
    assert load("train=t.tsv")["train"]["two"].duration == pytest.approx(2.0, abs=0.35)


def test_flac_of_unknown_length_is_imported_with_the_length_that_it_has(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    flac = bytes_of("FLAC", 0.1 * np.sin(np.arange(RATE) / 5))
    write_table("a.flac", flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:])
    assert load("train=t.tsv")["train"]["a"].duration == 1.0
    Path("wav.scp").write_text(f"r cat {tmp_path}/a.flac |\n")
    Path("text").write_text("r one two\n")
    assert load("train=.", more=["--allow-pipes", "true"])["train"]["r"].duration == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_a_command_writes_are_numbers(tmp_path, monkeypatch, load, capsys, value):
    monkeypatch.chdir(tmp_path)
    samples = np.zeros(RATE, np.float32)
    samples[3] = value
    soundfile.write("x.wav", samples, RATE, subtype="FLOAT")
    Path("wav.scp").write_text(f"r cat {tmp_path}/x.wav |\n")
    Path("text").write_text("r one two\n")
    with pytest.raises(SystemExit):
        load("train=.", more=["--allow-pipes", "true"])
    error = capsys.readouterr().err
    assert "wav.scp:1: the output of the command: a sample is" in error and len(error.splitlines()) == 1


def test_empty_files_are_named(tmp_path, monkeypatch, load, capsys):
    monkeypatch.chdir(tmp_path)
    for content, problem in ((b"", "the file is empty"), (bytes_of("WAV", np.zeros(0)), "no samples; leave it out")):
        write_table("empty.wav", content)
        with pytest.raises(SystemExit):
            load("train=t.tsv")
        assert f"empty.wav: {problem}" in capsys.readouterr().err


def test_a_path_that_is_no_utf8_is_named(tmp_path, monkeypatch, load, capsys):
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "a.wav")
    os.rename("a.wav", b"caf\xe9.wav")
    os.symlink(b"caf\xe9.wav", "link.wav")
    Path("t.jsonl").write_text(json.dumps({"audio": "link.wav", "text": "one"}))
    with pytest.raises(SystemExit):
        load("train=t.jsonl")
    error = capsys.readouterr().err
    assert f"t.jsonl:1: {tmp_path}/caf\\udce9.wav: the path is not UTF-8; rename it" in error


def test_files_of_one_name_in_several_folders(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    names = ["d3/x-2", "d1/x", "d2/x", "d3/x", "d4/x-3", "d4/x"]
    for name in names:
        write_tone(tmp_path / f"{name}.wav", 0.5)
    Path("t.tsv").write_text("audio\ttext\n" + "".join(f"{name}.wav\t{i}\n" for i, name in enumerate(names)))
    found = load("train=t.tsv")["train"]
    sources = {r.id: r.sources[0].source for r in RecordingSet.from_file("data/manifests/train_recordings.jsonl.gz")}
    assert sorted(s.text for s in found.values()) == list("012345") and len(found) == 6
    for s in found.values():
        assert sources[s.recording_id] == str(tmp_path / f"{names[int(s.text)]}.wav")


def test_several_channels_are_named(tmp_path, monkeypatch, load, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "two.flac", np.zeros((800, 2)), RATE)
    (tmp_path / "t.tsv").write_text("audio\ttext\ntwo.flac\tone\n")
    with pytest.raises(SystemExit):
        load("train=t.tsv")
    error = capsys.readouterr().err
    assert "t.tsv:2: " in error and "two.flac: 2 channels; write one file per channel" in error


def test_commands_run_only_when_allowed(kaldi, load, capsys):
    (kaldi / "wav.scp").write_text(f"rec-a touch ran; cat {kaldi}/wav/rec-a.wav |\nrec-b wav/rec-b.flac\n")
    with pytest.raises(SystemExit):
        load("train=kaldi")
    assert "kaldi/wav.scp:1: a command; give --allow-pipes true" in capsys.readouterr().err
    assert not Path("ran").exists()
    assert len(load("train=kaldi", more=["--allow-pipes", "true"])["train"]) == 3
    assert Path("ran").exists() and Path("data/audio/train/rec-a.flac").is_file()


BAD = [
    ("wav.scp", "rec-a wav/none.wav\nrec-b wav/rec-b.flac\n", "wav.scp:1: wav/none.wav: no such audio file"),
    ("wav.scp", "rec-a wav/rec-a.wav\nrec-a wav/rec-b.flac\n", "wav.scp:2: rec-a is already in"),
    ("wav.scp", "rec-a wav/rec-a.wav\nrec-b text\n", "wav.scp:2: "),
    ("wav.scp", "rec-a\n", "wav.scp:1: names no audio file"),
    ("segments", "a-1 rec-a 0.0\n", "segments:1: expected `utterance recording start end`"),
    ("segments", "a-1 rec-c 0.0 1.0\n", "segments:1: recording rec-c of a-1 is not in wav.scp"),
    ("segments", "a-1 rec-a 0 1\na-2 rec-a x 1\nb-1 rec-b 0 1\n", "segments:2: the start is 'x'"),
    (
        "segments",
        "a-1 rec-a 0 1\na-2 rec-a 0.5 7\nb-1 rec-b 0 1\n",
        "segments:2: a-2 is from 0.5 to 7 s; the recording",
    ),
    ("segments", "a-1 rec-a 0.5 0.5\na-2 rec-a 0.5 1\nb-1 rec-b 0 1\n", "segments:1: a-1 is from 0.5 to 0.5 s"),
    ("text", "a-1 x\na-2 x\n", "segments:3: b-1 has no line in kaldi/text"),
    ("text", "a-1 x\na-2 x\nb-1 x\nc-1 x\n", "text:4: c-1 is not in kaldi/segments"),
    ("text", "", "text: the file is empty"),
    ("utt2spk", "a-1 a\n", "segments:2: a-2 has no line in kaldi/utt2spk"),
]


@pytest.mark.parametrize("name, content, message", BAD, ids=[f"{i}-{b[0]}" for i, b in enumerate(BAD)])
def test_errors_name_file_and_line(kaldi, load, capsys, name, content, message):
    (kaldi / name).write_text(content)
    with pytest.raises(SystemExit) as error:
        load("train=kaldi")
    printed = capsys.readouterr().err
    assert error.value.code == 1
    assert f"kaldi/{message}" in printed and "Traceback" not in printed
    assert not Path("data/manifests/sets").exists()


def test_text_that_is_not_utf8(kaldi, load, capsys):
    (kaldi / "text").write_bytes(b"a-1 x\na-2 \xe9t\xe9\nb-1 x\n")
    with pytest.raises(SystemExit):
        load("train=kaldi")
    assert "kaldi/text:2: not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["train", "=x", "a/b=", "train=none", "train=kaldi/utt2spk"])
def test_bad_sets(kaldi, load, capsys, bad):
    with pytest.raises(SystemExit):
        load(bad)
    assert bad.strip("=").split("=")[-1] in capsys.readouterr().err


def test_tables(tmp_path, monkeypatch, load, capsys):
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "in" / "one.wav", 1.0)
    write_tone(tmp_path / "in" / "two.ogg.flac", 0.5, 16000)
    (tmp_path / "in/t.tsv").write_text(
        "audio\ttext\tspeaker\tstart\tend\none.wav\tgrüß dich\ts1\t0\t0.5\none.wav\t次\ts1\t0.5\t\n"
        "two.ogg.flac\tc\t\t\t\n",
        encoding="utf-8",
    )
    rows = [{"audio": "one.wav", "text": "a b", "id": "x"}, {"audio": "two.ogg.flac", "text": "c", "end": 0.25}]
    (tmp_path / "in/d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load("train=in/t.tsv", "dev=in/d.jsonl")
    assert {k: (s.text, s.start, s.end, s.speaker) for k, s in found["train"].items()} == {
        "one-000001": ("grüß dich", 0.0, 0.5, "s1"), "one-000002": ("次", 0.5, 1.0, "s1"),
        "two.ogg": ("c", 0.0, 0.5, None),
    }  # fmt: skip
    assert {k: (s.recording_id, s.end) for k, s in found["dev"].items()} == {
        "x": ("one", 1.0),
        "two.ogg": ("two.ogg", 0.25),
    }
    for name, content, message in (
        ("t.tsv", "audio\ttext\none.wav\n", "t.tsv:2: 1 columns, the first line has 2"),
        ("t.tsv", "path\ttext\none.wav\ta\n", "t.tsv:1: the first line names the columns"),
        ("t.tsv", "audio\ttext\n", "t.tsv: the file holds no utterance"),
        ("d.jsonl", '{"audio": "one.wav", "text": "a"}\n{"audio": "one.wav"}\n', "d.jsonl:2: expected an object"),
        ("d.jsonl", '{"audio": "one.wav", "text": "a"}\n{"audio"\n', "d.jsonl:2: not JSON"),
        ("d.jsonl", '{"audio": "one.wav", "text": "a", "start": -1}\n', "d.jsonl:1: start is -1"),
        ("d.jsonl", '{"audio": "one.wav", "text": false}\n', "d.jsonl:1: text is false; write it as a string"),
        ("d.jsonl", '{"audio": "one.wav", "text": "a", "id": 1.5}\n', "d.jsonl:1: id is 1.5; write it as a string"),
        ("d.jsonl", '{"audio": ["one.wav"], "text": "a"}\n', 'd.jsonl:1: audio is ["one.wav"]; write it as a string'),
    ):
        (tmp_path / "in" / name).write_text(content)
        with pytest.raises(SystemExit):
            load(f"train=in/{name}")
        assert f"in/{message}" in capsys.readouterr().err


def test_numbers_as_texts_and_ids(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "one.wav", 1.0)
    rows = [{"audio": "one.wav", "text": n, "id": n, "speaker": n} for n in (0, 7)]
    rows.append({"audio": "one.wav", "text": None, "id": "x", "speaker": None})
    Path("d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load("train=d.jsonl")["train"]
    assert {k: (s.text, s.speaker) for k, s in found.items()} == {"0": ("0", "0"), "7": ("7", "7"), "x": ("", None)}


def test_lhotse_manifests(kaldi, load, capsys):
    first = load("train=kaldi")["train"]
    Path("m").mkdir()
    for kind in ("recordings", "supervisions"):
        Path(f"data/manifests/train_{kind}.jsonl.gz").rename(f"m/x_{kind}.jsonl.gz")
    assert load("train=m/x_supervisions.jsonl.gz")["train"] == first
    recordings = RecordingSet.from_file("m/x_recordings.jsonl.gz")
    supervisions = SupervisionSet.from_file("m/x_supervisions.jsonl.gz")
    CutSet.from_manifests(recordings=recordings, supervisions=supervisions).to_file("m/cuts.jsonl")
    found = load("train=m/cuts.jsonl")["train"]
    assert {k: (s.text, s.start) for k, s in found.items()} == {k: (s.text, s.start) for k, s in first.items()}
    Path("m/x_recordings.jsonl.gz").unlink()
    with pytest.raises(SystemExit):
        load("train=m/x_supervisions.jsonl.gz")
    assert "m/x_recordings.jsonl.gz: no such file" in capsys.readouterr().err


def test_faults_of_lhotse_manifests_name_file_and_line(kaldi, load, capsys):
    load("train=kaldi")
    for kind in ("recordings", "supervisions"):
        Path(f"data/manifests/train_{kind}.jsonl.gz").rename(f"x_{kind}.jsonl.gz")
    recordings = list(RecordingSet.from_file("x_recordings.jsonl.gz"))
    supervisions = list(SupervisionSet.from_file("x_supervisions.jsonl.gz"))
    late = fastcopy(supervisions[1], start=5.0)
    lost = fastcopy(recordings[1], sources=[fastcopy(recordings[1].sources[0], source="none.wav")])
    stereo = fastcopy(recordings[1], channel_ids=[0, 1])
    for new_recordings, new_supervisions, message in (
        (
            recordings,
            [supervisions[0], late],
            "x_supervisions.jsonl.gz:2: a-2 is from 5 to 5.6 s; the recording has 1 s",
        ),
        (
            recordings,
            supervisions + supervisions[:1],
            "x_supervisions.jsonl.gz:4: utterance a-1 of train is",
        ),
        (recordings[:1], supervisions, "x_supervisions.jsonl.gz:3: b-1: recording rec-b is not among"),
        ([recordings[0], lost], supervisions, "x_recordings.jsonl.gz:2: rec-b: none.wav: no such audio file"),
        ([recordings[0], stereo], supervisions, "x_recordings.jsonl.gz:2: rec-b: 2 channels"),
    ):
        for kind, items in (("recordings", new_recordings), ("supervisions", new_supervisions)):
            with SequentialJsonlWriter(f"x_{kind}.jsonl.gz") as writer:
                for item in items:
                    writer.write(item)
        with pytest.raises(SystemExit):
            load("train=x_recordings.jsonl.gz")
        assert message in capsys.readouterr().err


CONTRADICTIONS = [
    ({"sampling_rate": 16000, "num_samples": 16000}, {}, "8000 samples/s, by the manifest 16000"),
    ({"duration": 2.0, "num_samples": 2 * RATE}, {}, "1 s, by the manifest 2"),
    ({"duration": 0.9, "num_samples": 7200}, {}, "1 s, by the manifest 0.9"),
    ({"sources": "stereo.wav"}, {}, "2 channels, by the manifest 1"),
    ({"sources": "bad.wav"}, {}, "bad.wav: truncated"),
    ({"channel_ids": [1]}, {}, "x_supervisions.jsonl.gz:1: u: channel 0; recording r has channel 1"),
    ({}, {"channel": 3}, "x_supervisions.jsonl.gz:1: u: channel 3; recording r has channel 0"),
]


@pytest.mark.parametrize("recording_changes, changes, message", CONTRADICTIONS)
def test_lhotse_manifests_that_contradict_the_audio(
    tmp_path, monkeypatch, load, capsys, recording_changes, changes, message
):
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "a.wav", 1.0)
    soundfile.write("stereo.wav", np.zeros((RATE, 2)), RATE)
    Path("bad.wav").write_bytes(Path("a.wav").read_bytes()[:-100])
    recording = Recording.from_file("a.wav", recording_id="r")
    if "sources" in recording_changes:
        recording_changes = {"sources": [fastcopy(recording.sources[0], source=recording_changes["sources"])]}
    if "channel_ids" in recording_changes:
        recording_changes = {**recording_changes, "sources": [fastcopy(recording.sources[0], channels=[1])]}
    supervision = SupervisionSegment("u", "r", 0.0, 0.5, text="one")
    RecordingSet.from_recordings([fastcopy(recording, **recording_changes)]).to_file("x_recordings.jsonl.gz")
    SupervisionSet.from_segments([fastcopy(supervision, **changes)]).to_file("x_supervisions.jsonl.gz")
    with pytest.raises(SystemExit):
        load("train=x_recordings.jsonl.gz")
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    if "supervisions" not in message:
        assert "x_recordings.jsonl.gz:1: r: " in error
    assert not Path("data/manifests/sets").exists()


def test_lhotse_manifests_with_transforms_are_compared_before_them(tmp_path, monkeypatch, load, capsys):
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "a.wav", 1.0)
    recording = Recording.from_file("a.wav", recording_id="r")
    SupervisionSet.from_segments([SupervisionSegment("u", "r", 0.0, 0.5, text="one")]).to_file(
        "x_supervisions.jsonl.gz"
    )
    for changed in (
        recording.resample(16000),
        recording.resample(16000).perturb_speed(0.9),
        recording.perturb_volume(2),
    ):
        RecordingSet.from_recordings([fastcopy(changed, id="r")]).to_file("x_recordings.jsonl.gz")
        assert set(load("train=x_recordings.jsonl.gz")["train"]) == {"u"}


@pytest.mark.parametrize("segments", [True, False])
def test_export_and_import_again(tmp_path, monkeypatch, load, program, segments):
    monkeypatch.chdir(tmp_path)
    folder = write_kaldi(tmp_path / "kaldi", segments)
    first = load("train=kaldi")["train"]
    program("export_kaldi").main(["--sets", "train", "--out", "out", "--pipes", "false"])
    for name in ("text", "utt2spk"):
        assert (tmp_path / "out/train" / name).read_bytes() == (folder / name).read_bytes()
    assert (tmp_path / "out/train/segments").exists() == segments
    assert (tmp_path / "out/train/spk2utt").read_text().splitlines()[-1].split()[0] in ("b", "r")
    again = load("train=out/train")["train"]
    assert {k: (s.text, round(s.end, 3)) for k, s in again.items()} == {
        k: (s.text, round(s.end, 3)) for k, s in first.items()
    }
    program("export_kaldi").main(["--sets", "train", "--out", "out"])
    lines = (tmp_path / "out/train/wav.scp").read_text().splitlines()
    assert lines[0] == f"rec-a {folder}/wav/rec-a.wav"
    assert lines[1] == f"rec-b ffmpeg -v error -i {folder}/wav/rec-b.flac -f wav - |"


def test_another_script_in_the_c_locale(kaldi):
    """Import, characters as tokens and back, where the locale knows only ASCII."""
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONIOENCODING", None)
    for name, *options in (
        ("import_corpus", "--sets", "train=kaldi"),
        ("train_bpe", "--token-type", "char", "--out", "data/lang_char"),
        ("export_kaldi", "--sets", "train", "--out", "out"),
    ):
        command = [sys.executable, ROOT / "local" / f"{name}.py", *options]
        result = subprocess.run(command, env=environment, capture_output=True)
        assert result.returncode == 0, result.stderr
    assert Path("out/train/text").read_bytes() == (kaldi / "text").read_bytes()
    tokens = Path("data/lang_char/tokens.txt").read_text(encoding="utf-8").split()[::2]
    assert tokens[:3] == ["<blk>", "<sos/eos>", "<unk>"] and set(tokens[3:]) == set("▁здравствуймир")


def test_hold_out_parts_off_speakers(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    write_kaldi(tmp_path / "kaldi")
    found = load("train=kaldi", more=("--hold-out", "dev=train:1"))
    speakers = {name: {s.speaker for s in supervisions.values()} for name, supervisions in found.items()}
    assert sorted(map(len, speakers.values())) == [1, 1] and speakers["train"].isdisjoint(speakers["dev"])
    assert sorted(k for part in found.values() for k in part) == ["a-1", "a-2", "b-1"]
    for name in found:
        recordings = RecordingSet.from_file(f"data/manifests/{name}_recordings.jsonl.gz")
        assert {r.id for r in recordings} == {s.recording_id for s in found[name].values()}


@pytest.mark.parametrize(
    "value, problem",
    [
        ("dev=train:2", "2 speakers are asked for and the set has 2"),
        ("dev=test:1", "dev must be a new set and test one of --sets (train)"),
        ("train=train:1", "train must be a new set"),
        ("dev", "'dev' is not NAME=SET:N"),
    ],
)
def test_hold_out_refuses(tmp_path, monkeypatch, load, capsys, value, problem):
    monkeypatch.chdir(tmp_path)
    write_kaldi(tmp_path / "kaldi")
    with pytest.raises(SystemExit):
        load("train=kaldi", more=("--hold-out", value))
    assert problem in capsys.readouterr().err
    assert not Path("data/manifests/sets").exists()
