"""Files are whole or absent."""

import os

import pytest

from rnnt.errors import UserError
from rnnt.files import atomic_folder, atomic_write, read_json, write_json


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write("half")
        raise RuntimeError("stop")
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with (
        pytest.raises(UserError, match="a.txt: can't write it: No space left"),
        atomic_write(path),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100000)
    assert path.read_text() == "before"


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "b.json"
    path.write_text("{")
    with pytest.raises(UserError, match="b.json: not valid JSON"):
        read_json(path)
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "c.json")


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    path = tmp_path / "audio"
    for content in ("old", "new"):
        with atomic_folder(path) as temporary:
            (temporary / f"{content}.txt").write_text(content)
            assert not (path / "new.txt").exists()
    assert os.listdir(path) == ["new.txt"]
    assert os.listdir(tmp_path) == ["audio"]


def test_a_failed_folder_leaves_the_old_one_and_no_litter(tmp_path):
    path = tmp_path / "audio"
    path.mkdir()
    (tmp_path / ".audio.tmp").mkdir()  # of a run that was killed
    (path / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        raise RuntimeError("stop")
    assert os.listdir(path) == ["old.txt"]
    assert os.listdir(tmp_path) == ["audio"]
