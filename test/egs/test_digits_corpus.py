import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def get_corpus(recipe_program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return recipe_program("digits", "get_corpus")


def source():
    return json.loads(Path("data/corpus/source.json").read_text())


def test_folder_is_used_where_it_lies(get_corpus, tmp_path, capsys):
    recordings = tmp_path / "dl" / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    (recordings / "0_theo_0.wav").write_bytes(b"RIFF")
    get_corpus.main(["--dl-dir", "dl"])
    assert source()["kind"] == "folder" and source()["path"] == str(recordings)
    assert source()["held_out_speakers"] == ["theo"]
    printed = capsys.readouterr().out
    assert "3000 of the published 3000 recordings are missing or differ" in printed
    assert sorted(os.listdir("data/corpus")) == ["source.json"]


def test_the_real_recordings_have_the_published_checksums(get_corpus, capsys):
    if not os.environ.get("RNNT_TEST_DATA"):
        pytest.skip("RNNT_TEST_DATA is not set")
    get_corpus.main(["--dl-dir", os.environ["RNNT_TEST_DATA"]])
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("make, message", [(False, "no such folder"), (True, "holds no .wav file")])
def test_a_wrong_folder_is_one_line(get_corpus, tmp_path, capsys, make, message):
    if make:
        (tmp_path / "dl/fsdd/recordings").mkdir(parents=True)
    with pytest.raises(SystemExit) as error:
        get_corpus.main(["--dl-dir", "dl"])
    assert error.value.code == 1
    assert "dl/fsdd/recordings: " in (printed := capsys.readouterr().err) and message in printed
    assert not os.path.exists("data/corpus/source.json")


def archive_of(files):
    """A .tar.gz as GitHub makes them, with `files` {name: bytes} in recordings/."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in {"README.md": b"digits", **{f"recordings/{n}": d for n, d in files.items()}}.items():
            member = tarfile.TarInfo(f"free-spoken-digit-dataset-abc/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def serve():
    """`serve(bytes)` is the address of a server on this machine that answers with them."""
    servers = []

    def start(data, trickle=False):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                try:
                    for start in range(0, len(data), 1000 if trickle else len(data)):
                        self.wfile.write(data[start : start + 1000] if trickle else data)
                        time.sleep(0.05 if trickle else 0)
                except OSError:
                    pass  # the client has gone

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/archive.tar.gz"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


FILES = {"0_a_0.wav": b"first", "1_a_0.wav": b"second"}


@pytest.fixture
def two_files(get_corpus, monkeypatch):
    """The list of checksums cut down to two files."""
    import hashlib

    sums = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    monkeypatch.setattr(get_corpus.download, "read_checksums", lambda: sums)
    return get_corpus


def test_download_is_unpacked_and_checked(two_files, serve, capsys):
    two_files.main(["--url", serve(archive_of({**FILES, "new.wav": b"not in the list"}))])
    assert source()["kind"] == "download" and source()["path"] == "data/corpus/recordings"
    assert {p.name: p.read_bytes() for p in Path("data/corpus/recordings").iterdir()} == FILES
    assert sorted(os.listdir("data/corpus")) == ["recordings", "source.json"]
    two_files.main([])
    assert "already in data/corpus/recordings" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, message",
    [
        (archive_of({**FILES, "1_a_0.wav": b"changed"}), "1 recordings are missing or have a wrong checksum"),
        (archive_of({"0_a_0.wav": b"first"}), "such as 1_a_0.wav"),
        (archive_of(FILES)[:100], "the archive is broken"),
        (b"<html>", "the archive is broken"),
    ],
    ids=["changed", "missing", "cut off", "no archive"],
)
def test_a_bad_download_leaves_nothing_and_the_next_source_is_tried(
    two_files, serve, capsys, monkeypatch, content, message
):
    monkeypatch.setattr(two_files.speak, "speak_corpus", lambda folder: folder)
    two_files.main(["--url", serve(content)])
    printed = capsys.readouterr().out
    assert message in printed
    assert "NOTICE: this is SYNTHETIC speech. The WER is not comparable" in printed
    assert source()["kind"] == "synthetic"
    assert sorted(os.listdir("data/corpus")) == ["source.json"]


def test_no_server_and_a_slow_server(two_files, serve, capsys, monkeypatch):
    monkeypatch.setattr(two_files.speak, "speak_corpus", lambda folder: folder)
    two_files.main(["--url", "http://127.0.0.1:9/archive.tar.gz", "--download-timeout", "2"])
    assert "download: http://127.0.0.1:9/archive.tar.gz: " in capsys.readouterr().out
    os.remove("data/corpus/source.json")
    two_files.main(["--url", serve(b"x" * 100_000, trickle=True), "--download-timeout", "0.5"])
    assert "not done after 0.5 s" in capsys.readouterr().out


def test_without_any_source_the_error_names_the_remedy(get_corpus, capsys, monkeypatch):
    def no_module(name):
        raise ImportError(name)

    monkeypatch.setattr(get_corpus.speak.importlib, "import_module", no_module)
    monkeypatch.setattr(get_corpus.speak, "REQUIREMENT", "--no-such-option")
    with pytest.raises(SystemExit) as error:
        get_corpus.main(["--download-timeout", "0"])
    assert error.value.code == 1
    assert "put the dataset into DIR/fsdd/recordings and give --dl-dir DIR" in capsys.readouterr().err
    assert not os.path.exists("data/corpus/source.json")


def test_espeak_speaks_like_the_originals(get_corpus):
    pytest.importorskip("espeakng_loader")
    speak = get_corpus.speak
    voices = {name: speak.VOICES[name] for name in ("us-m1", "rp-belinda")}
    folder = speak.speak_corpus("recordings", voices, per_digit=2)
    audio = {path.name: soundfile.read(path) for path in Path(folder).iterdir()}
    assert set(audio) == {f"{d}_{s}_{i}.wav" for d in range(10) for s in voices for i in range(2)}
    for samples, rate in audio.values():
        assert rate == 8000 and 0.1 < len(samples) / rate < 1.5 and np.abs(samples).max() > 0.02
    assert not np.array_equal(audio["7_us-m1_0.wav"][0], audio["7_us-m1_1.wav"][0])


def test_espeak_speaks_the_same_every_time(get_corpus):
    pytest.importorskip("espeakng_loader")
    # Processes of their own: the state of the library is global.
    code = "import speak, sys; speak.speak_corpus(sys.argv[1], {'gb-f3': speak.VOICES['gb-f3']}, per_digit=1)"
    for out in ("first", "second"):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(get_corpus.__file__).parent), *sys.path])}
        subprocess.run([sys.executable, "-c", code, out], check=True, env=env, capture_output=True)
    first, second = ({p.name: p.read_bytes() for p in Path(out).iterdir()} for out in ("first", "second"))
    assert len(first) == 10 and first == second


def test_every_voice_is_there(get_corpus):
    pytest.importorskip("espeakng_loader")
    speak = get_corpus.speak
    assert set(speak.HELD_OUT) < set(speak.VOICES)
    with speak.espeak() as engine:
        for voice in speak.VOICES.values():
            engine.set_voice(voice)
            assert len(engine.speak("seven", rate=175, pitch=50, pitch_range=50, volume=100)) > 5000
        with pytest.raises(get_corpus.UserError, match="has no voice"):
            engine.set_voice("none")
