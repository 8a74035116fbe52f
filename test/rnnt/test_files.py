"""Files are complete or absent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rnnt.errors import UserError
from rnnt.files import ABANDONED, atomic_folder, atomic_write, clear_leftovers, read_json, read_json_object, write_json


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
    (path / "old.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
        raise RuntimeError("stop")
    assert os.listdir(path) == ["old.txt"]
    assert os.listdir(tmp_path) == ["audio"]


WRITER = """
import sys, time
from rnnt.files import atomic_folder, atomic_write
with atomic_write(sys.argv[1] + "/one.txt") as file, atomic_folder(sys.argv[1] + "/two") as folder:
    (folder / "a").write_text("a")
    print("writing", flush=True)
    time.sleep(100)
"""


def start_writer(folder):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_is_removed_by_the_next_start_and_what_a_living_one_writes_is_not(tmp_path):
    killed, living = start_writer(tmp_path), start_writer(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(os.listdir(tmp_path)) == 4
    write_json(tmp_path / "three.json", {})
    try:
        names = sorted(os.listdir(tmp_path))
        assert len(names) == 3 and names[2] == "three.json" and all(f"-{living.pid}.tmp" in n for n in names[:2])
    finally:
        living.kill()
        living.wait()
    clear_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["three.json"]


def test_files_of_other_machines_are_left_behind_when_they_are_old(tmp_path):
    names = [".checkpoint-72.15772.tmp.pt", ".epoch-1.elsewhere-15772.tmp.pt"]
    for name in (*names, ".train.part", "notes.1.tmp"):
        (tmp_path / name).write_text("")
    clear_leftovers(tmp_path)
    assert set(names) <= set(os.listdir(tmp_path))
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 2 * ABANDONED,) * 2)
    clear_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".train.part", "notes.1.tmp"]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: path.mkdir(), "can't read it: Is a directory"),
        (lambda path: path.symlink_to(path.name), "can't read it: Too many levels"),
        (lambda path: path.write_text("[" * 100_000), "not valid JSON"),
        (lambda path: path.write_text("\ud800", "utf-16", "surrogatepass"), "not valid JSON"),
        (lambda path: path.write_text("null"), "expected an object, not None"),
        (lambda path: path.write_text("[1]"), r"expected an object, not \[1\]"),
        (lambda path: path.write_text('{"a": 1}'), "no b, c in it"),
    ],
)
def test_what_is_no_json_object_is_one_line(tmp_path, make, words):
    path = tmp_path / "x.json"
    make(path)
    with pytest.raises(UserError, match=f"x.json: {words}") as error:
        read_json_object(path, "a", "b", "c")
    assert "\n" not in str(error.value)
