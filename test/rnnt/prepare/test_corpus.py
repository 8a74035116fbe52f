"""rnnt.prepare.corpus: items in any order, on the disk until they are written."""

import json

import numpy as np
import pytest
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from rnnt.data.audio import write_audio
from rnnt.errors import UserError
from rnnt.prepare.corpus import build_corpus, manifest_paths


def recording(key, folder, channels=(0,), seconds=2.0):
    path = folder / f"{key}.wav"
    write_audio(path, np.zeros(int(8000 * seconds)), 8000)
    return Recording(key, [AudioSource("file", list(channels), str(path))], 8000, int(8000 * seconds), seconds)


def add(builder, folder, *keys, name="train", speaker="s"):
    for key in keys:
        builder.add_recording(name, recording(key, folder), f"list:{key}")
        builder.add_supervision(name, SupervisionSegment(key, key, 0.0, 1.5, text="a", speaker=speaker), f"list:{key}")


def test_sets_are_written_sorted_and_in_the_order_of_their_first_items(tmp_path, capsys):
    with build_corpus(tmp_path / "m") as builder:
        add(builder, tmp_path, "c", "é", "b", name="train")
        add(builder, tmp_path, "a", name="dev")
        add(builder, tmp_path, "a", name="train")
        builder.check(tmp_path)
        builder.write()
    assert (tmp_path / "m/sets").read_text() == "train\ndev\n"
    paths = manifest_paths(tmp_path / "m", "train")
    assert [r.id for r in RecordingSet.from_file(paths[0])] == ["a", "b", "c", "é"]
    assert [s.id for s in SupervisionSet.from_file(paths[1])] == ["a", "b", "c", "é"]
    assert "train: 4 utterances, 0.00 hours, 1 speaker" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == sorted(
        [p.name for name in ("train", "dev") for p in manifest_paths("", name)] + ["sets"]
    )


def test_the_same_items_make_the_same_files(tmp_path):
    contents = []
    for keys in ("abc", "cab"):
        with build_corpus(tmp_path / keys) as builder:
            add(builder, tmp_path, *keys)
            builder.check(tmp_path)
            builder.write()
        contents.append([path.read_bytes() for path in manifest_paths(tmp_path / keys, "train")])
    assert contents[0] == contents[1]


def test_the_same_recording_may_come_again_and_another_one_may_not(tmp_path):
    with build_corpus(tmp_path) as builder:
        first = recording("a", tmp_path)
        builder.add_recording("train", first, "x:1")
        builder.add_recording("train", first, "x:2")
        with pytest.raises(UserError, match="x:3: recording a of train differs from the one in x:1"):
            builder.add_recording("train", recording("a", tmp_path, seconds=3.0), "x:3")
        builder.add_recording("dev", recording("a", tmp_path, seconds=3.0), "x:4")
        with pytest.raises(UserError, match="x:5: b: 2 channels"):
            builder.add_recording("train", recording("b", tmp_path, channels=(0, 1)), "x:5")


def test_an_utterance_of_an_unknown_recording_is_named(tmp_path):
    with build_corpus(tmp_path) as builder:
        builder.add_supervision("train", SupervisionSegment("u", "nowhere", 0.0, 1.0), "x:7")
        with pytest.raises(UserError, match="x:7: u: recording nowhere is not among the recordings"):
            builder.check(tmp_path)


def test_nothing_is_left_behind_by_what_was_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt), build_corpus(tmp_path / "m") as builder:
        add(builder, tmp_path, "a")
        assert not list((tmp_path / "m").iterdir())  # so that a killed process leaves nothing either
        raise KeyboardInterrupt
    assert not list((tmp_path / "m").iterdir())


def test_a_full_disk_is_one_line(tmp_path):
    full = "can't keep the corpus there while it is read: database or disk is full"
    with pytest.raises(UserError, match=full), build_corpus(tmp_path) as builder:
        builder.database.execute("PRAGMA max_page_count = 20")
        for i in range(1000):
            builder.add_recording("train", recording(f"a{i}", tmp_path), f"x:{i}")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"), build_corpus(tmp_path / "file" / "m"):
        pass


def test_held_out_speakers_of_shared_recordings_are_refused(tmp_path):
    with build_corpus(tmp_path) as builder:
        builder.add_recording("train", recording("a", tmp_path), "x:1")
        for i in range(3):
            builder.add_supervision("train", SupervisionSegment(f"u{i}", "a", i / 2, 0.5, speaker=f"s{i}"), f"x:{i}")
        builder.check(tmp_path)
        with pytest.raises(UserError, match="recording a holds speakers of both sets"):
            builder.hold_out("dev", "train", 1)


def test_items_are_kept_as_lhotse_wrote_them(tmp_path):
    custom = SupervisionSegment("u", "a", 0.25, 0.5, text="次", speaker="s", language="x", custom={"snr": 3})
    with build_corpus(tmp_path) as builder:
        builder.add_recording("train", recording("a", tmp_path), "x:1")
        builder.add_supervision("train", custom, "x:1")
        builder.check(tmp_path)
        builder.write()
    (found,) = SupervisionSet.from_file(manifest_paths(tmp_path, "train")[1])
    assert found == custom and json.loads(json.dumps(found.to_dict())) == custom.to_dict()
