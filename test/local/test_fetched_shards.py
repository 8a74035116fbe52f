"""Shards that come from commands and from the web: the same training, each fetched once, and what goes wrong named."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.data.sets.cache import FileCache
from rnnt.data.sets.config import FetchConfig
from rnnt.data.sets.shards import ShardManifest
from rnnt.decode import main as decode
from rnnt.errors import UserError
from rnnt.files import copy_file
from rnnt.train import main as train

ALLOWED = {"allow_pipes": True, "allow_urls": True}


@pytest.fixture(scope="module")
def shards(toy, load_program, tmp_path_factory):
    """The toy data in shards of ten utterances."""
    out = tmp_path_factory.mktemp("shards")
    words = ["--manifest-dir", toy, "--sets", "train", "dev", "--out", out, "--shard-size", 10]
    load_program("make_shards").main(list(map(str, words)))
    return out


class Server(ThreadingHTTPServer):
    """Serves a folder below /; `answers` has functions of the handler for other paths, `asked` what was asked for."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.answers, self.asked = folder, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer:
            with suppress(ConnectionError):
                answer(self)
            return
        path = self.server.folder / self.path.partition("?")[0][1:]
        if not path.is_file():
            self.send_error(404)
            return
        self.send(path.read_bytes())

    def send(self, content, length=None):
        self.send_response(200)
        if length != 0:
            self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(shards, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("rnnt.data.sets.download.PAUSES", (0.0, 0.0, 0.0))
    server = Server(shards)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def write_lists(shards, folder, name_of):
    """A folder that takes the place of `shards`, whose lists name its files as `name_of(path)` says."""
    for name in ("features.json", "cmvn.json"):
        copy_file(shards / name, folder / name)
    for name in ("train", "dev"):
        entries = [json.loads(line) for line in (shards / f"{name}.shards").open()]
        for entry in entries:
            entry.update({part: name_of(entry[part]) for part in ("cuts", "features")})
        (folder / f"{name}.shards").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


@pytest.fixture(params=["pipe", "http"])
def fetched(request, shards, server, tmp_path):
    """Such a folder, of each kind."""
    kinds = {"pipe": lambda path: f"pipe:cat {shards}/{path}", "http": lambda path: f"{server.address}/{path}"}
    return write_lists(shards, tmp_path / "lists", kinds[request.param])


def weights(exp, name="epoch-2.pt"):
    return load_checkpoint(exp / name)["model"]


def assert_same(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


def words(options):
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_training_and_decoding_are_those_of_files(shards, fetched, server, toy_argv, tmp_path):
    allowed = {**ALLOWED, "shard_cache": tmp_path / "cache"}
    train(toy_argv(tmp_path / "a", manifest_dir=shards, open_shards=2))
    train(toy_argv(tmp_path / "b", manifest_dir=fetched, open_shards=2, num_workers=2, **allowed))
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert (tmp_path / "a/epochs.jsonl").read_text() == (tmp_path / "b/epochs.jsonl").read_text()
    for exp, folder in (("a", shards), ("b", fetched)):
        options = {"exp_dir": tmp_path / exp, "manifest_dir": folder, "epoch": 2, "threads": 1, "device": "cpu"}
        decode(words({**options, **(allowed if exp == "b" else {})}))
    a, b = ((tmp_path / exp / "decode_greedy_search_epoch-2/dev/hyp.trn").read_text() for exp in "ab")
    assert a == b
    # Two epochs, two loader processes, a dev set in each epoch and in decoding: every file came once.
    assert len(server.asked) == len(set(server.asked)) == (12 if "http" in (fetched / "dev.shards").read_text() else 0)


def test_resumed_run_fetches_only_shards_of_its_window(shards, server, toy_argv, tmp_path):
    lists = write_lists(shards, tmp_path / "lists", lambda path: f"{server.address}/{path}")
    options = {"num_epochs": 1, "manifest_dir": lists, "open_shards": 2, "save_every_n": 1, "keep_last_k": 99}
    exp = tmp_path / "exp"
    train(toy_argv(exp, **options, **ALLOWED, shard_cache=tmp_path / "one"))
    whole, done = weights(exp, "epoch-1.pt"), len(list(exp.glob("checkpoint-*.pt")))
    for path in [*exp.glob("epoch-*.pt"), exp / f"checkpoint-{done}.pt"]:
        path.unlink()
    server.asked.clear()
    train(toy_argv(exp, **options, **ALLOWED, shard_cache=tmp_path / "two"))
    assert 0 < len({path for path in server.asked if path.startswith("/train/")}) <= 2 * 2
    assert_same(weights(exp, "epoch-1.pt"), whole)


def test_durations_that_a_list_lacks_are_read_once(shards, fetched, server, tmp_path):
    path, wanted = fetched / "train.shards", ShardManifest(shards / "train.shards", 8)
    entries = [json.loads(line) for line in path.open()]
    for entry in entries:
        del entry["durations"]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    for name in ("one", "two"):
        found = ShardManifest(path, 8, FetchConfig(**ALLOWED, shard_cache=str(tmp_path / name)))
        assert np.array_equal(found.durations, wanted.durations)
        assert not any(".tar" in asked for asked in server.asked)
    assert not (tmp_path / "two").exists() or not list((tmp_path / "two").glob("*/[0-9a-f]*"))


def test_a_set_of_lhotse_needs_the_names_alone(toy, server, tmp_path, monkeypatch):
    from lhotse import CutSet
    from lhotse.shar import SharWriter

    cuts = CutSet.from_file(toy / "train.jsonl")
    (tmp_path / "train").mkdir()
    with SharWriter(tmp_path / "train", {"features": "lilcom"}, shard_size=20) as writer:
        for cut in cuts:
            writer.write(cut)
    monkeypatch.setattr(server, "folder", tmp_path)
    kinds, base = {"cuts": "jsonl.gz", "features": "tar"}, f"{server.address}/train"
    lines = [{part: f"{base}/{part}.{n:06d}.{kind}" for part, kind in kinds.items()} for n in range(3)]
    (tmp_path / "far.shards").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = ShardManifest(tmp_path / "far.shards", 8, FetchConfig(allow_urls=True, shard_cache=str(tmp_path / "c")))
    near = ShardManifest(tmp_path / "train.shards", 8)
    assert [found[i].id for i in range(48)] == [cut.id for cut in cuts]
    assert all(np.array_equal(found[i].load_features(), near[i].load_features()) for i in range(48))


# --- failures -----------------------------------------------------------------------------------------------------


def silent(handler):
    threading.Event().wait(1)


def trickle(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b"{")
        threading.Event().wait(0.05)


def to_a_file(handler):
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.end_headers()


PAGE = b"<html><body>log in first</body></html>"
ANSWERS = {
    "missing": (lambda h: h.send_error(404), "can't fetch it: status 404 Not Found; correct its address"),
    "broken server": (lambda h: h.send_error(503), "tried 4 times: status 503 .*; start again when the server answers"),
    "hangs up": (lambda h: h.connection.close(), "tried 4 times: .*; start again when the server answers"),
    "silent": (silent, "not fetched within 0.3 s: .*; raise --shard-timeout"),
    "trickle": (trickle, "not fetched within 0.3 s: .* bytes so far; raise --shard-timeout"),
    "a file": (to_a_file, "can't fetch it: .*302"),
    "half": (lambda h: h.send(b"x" * 500, 1000), "tried 4 times: it ended after 500 of 1000 bytes"),
    "a page": (lambda h: h.send(PAGE), "it is no .*, it begins with '<html><body>log in.*; put the shard there again"),
    "nothing": (lambda h: h.send(b"", 0), "it is no .*, it is empty"),
}
QUICK = {"silent", "trickle"}


@pytest.mark.parametrize("part", ["cuts", "features"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_servers_that_fail_are_named(kind, part, shards, server, tmp_path):
    answer, message = ANSWERS[kind]
    lists = write_lists(
        shards, tmp_path / "lists", lambda path: f"{server.address}/bad?key=secret" if path.startswith(f"dev/{part}")
        else path if path.startswith("train") else str(shards / path)
    )  # fmt: skip
    server.answers["/bad?key=secret"] = answer
    config = FetchConfig(
        allow_urls=True, shard_cache=str(tmp_path / "c"), shard_timeout=0.3 if kind in QUICK else 600.0
    )
    with pytest.raises(UserError, match=message) as error:
        ShardManifest(lists / "dev.shards", 8, config)[0]
    assert str(error.value).startswith(f"{server.address}/bad?...: ") and "\n" not in str(error.value)
    assert not list((tmp_path / "c").glob("*/[0-9a-f]*")) and not list((tmp_path / "c").glob("*/*.tmp*"))


def test_a_server_that_recovers(shards, server, tmp_path):
    """Of a try that broke off nothing is left in the file."""
    lists = write_lists(shards, tmp_path / "lists", lambda path: f"{server.address}/{path}")
    fails = iter([lambda h: h.send_error(500), lambda h: h.send(b"x" * 100_000, 200_000), lambda h: h.send_error(429)])

    def answer(handler):
        then = next(fails, None)
        then(handler) if then else handler.send((shards / handler.path[1:]).read_bytes())

    server.answers["/dev/features.000000.tar"] = answer
    found = ShardManifest(lists / "dev.shards", 8, FetchConfig(allow_urls=True, shard_cache=str(tmp_path / "c")))
    wanted = ShardManifest(shards / "dev.shards", 8)
    assert np.array_equal(found[3].load_features(), wanted[3].load_features())
    assert server.asked.count("/dev/features.000000.tar") == 4


TAR, CUTS = "features.000000.tar", "cuts.000000.jsonl.gz"
COMMANDS = {
    "status": (f"cat {{}}/{CUTS}; echo no such bucket >&2; exit 3", "ended with status 3: no such bucket; try it in a"),
    "within a pipeline": (f"false | cat {{}}/{CUTS}", "the command ended with status 1: it said nothing"),
    "missing": ("cat {}/other", "status 1: cat: .*No such file or directory; try it in a shell"),
    "for ever": ("sleep 60", "the command has not ended after 0.3 s; raise --shard-timeout"),
    "left behind": ("sleep 60 & echo x", "the command has not ended after 0.3 s; raise --shard-timeout"),
    "cut short": (f"head -c 300 {{}}/{CUTS}", "it is cut short or broken .*; put the shard there again"),
    "other content": ("echo hello", "it is no list of cuts, it begins with 'hello.n'; put the shard there again"),
    "a tar file cut short": (f"head -c 3000 {{}}/{TAR}", "it is cut short: the end of a tar file is missing; put the"),
    "at a member": (f"head -c 2048 {{}}/{TAR}", "it is cut short: the end of a tar file is missing; put the shard"),
    "no tar file": (f"cat {{}}/{CUTS}", "it is no tar file, it begins with .*; put the shard there again"),
    "fewer cuts": (f"gunzip -c {{}}/{CUTS} | tail -n +2", "has 8 cuts, .*dev.shards says 9; remove the durations from"),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_commands_that_fail_are_named(kind, shards, tmp_path):
    command, message = COMMANDS[kind]
    command = f"pipe:{command.format(shards / 'dev')}"
    part = "features" if "tar" in kind or kind == "at a member" else "cuts"
    lists = write_lists(
        shards, tmp_path / "lists", lambda path: command if path.startswith(f"dev/{part}") else str(shards / path)
    )
    timeout = 0.3 if kind in ("for ever", "left behind") else 600.0
    config = FetchConfig(allow_pipes=True, shard_cache=str(tmp_path / "c"), shard_timeout=timeout)
    with pytest.raises(UserError, match=message) as error:
        ShardManifest(lists / "dev.shards", 8, config)[0]
    assert str(error.value).startswith(f"{command}: ") and "\n" not in str(error.value)
    if kind != "fewer cuts":
        assert not list((tmp_path / "c").glob("*/[0-9a-f]*")) and not list((tmp_path / "c").glob("*/*.tmp*"))


def test_unpacked_cuts_and_pipelines_are_read(shards, tmp_path):
    """Whether cuts are packed, they say themselves."""
    lists = write_lists(
        shards,
        tmp_path / "lists",
        lambda path: f"pipe:{'gunzip -c' if 'cuts' in path else 'cat'} {shards}/{path}",
    )
    found = ShardManifest(lists / "dev.shards", 8, FetchConfig(allow_pipes=True, shard_cache=str(tmp_path / "c")))
    assert [found[i].id for i in range(9)] == [ShardManifest(shards / "dev.shards", 8)[i].id for i in range(9)]


def test_a_failure_ends_a_training_with_one_line(shards, server, toy_argv, tmp_path, capfd):
    lists = write_lists(shards, tmp_path / "lists", lambda path: f"{server.address}/{path}")
    server.answers |= {f"/train/features.{n:06d}.tar": lambda h: h.send_error(403) for n in range(5)}
    with pytest.raises(SystemExit) as stop:
        train(toy_argv(tmp_path / "e", manifest_dir=lists, num_workers=2, **ALLOWED, shard_cache=tmp_path / "c"))
    error = capfd.readouterr().err
    assert stop.value.code == 1 and error.count("\n") == 1 and ".tar: can't fetch it: status 403 Forbidden; " in error


@pytest.mark.slow
def test_ranks_fetch_a_shard_once_and_remove_the_folder(shards, server, toy_argv, tmp_path):
    """Also when a signal ends them all at the same time."""
    lists = write_lists(shards, tmp_path / "lists", lambda path: f"{server.address}/{path}")
    (tmp_path / "tmp").mkdir()
    options = {"manifest_dir": lists, "num_epochs": 1000, "num_workers": 2, "world_size": 2, "allow_urls": True}
    command = [sys.executable, "-m", "rnnt.train", *toy_argv(tmp_path / "exp", **options)]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    for _ in range(1200):
        if (tmp_path / "exp/epoch-2.pt").exists():
            break
        time.sleep(0.1)
    process.terminate()
    assert process.wait() == 99
    assert len(server.asked) == len(set(server.asked)) == 12
    assert not list((tmp_path / "tmp").glob("rnnt-shards-*"))


FULL = """
import resource, signal, sys
from rnnt.data.sets.config import FetchConfig
from rnnt.data.sets.shards import ShardManifest
from rnnt.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
manifest = ShardManifest(sys.argv[1], 8, FetchConfig(allow_pipes=True, shard_cache=sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    manifest[0]
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_named(shards, tmp_path):
    """What a command writes goes through this process, so that it is not the command that fails."""
    lists = write_lists(shards, tmp_path / "lists", lambda path: f"pipe:cat {shards}/{path}")
    line = subprocess.run(
        [sys.executable, "-c", FULL, lists / "dev.shards", tmp_path / "c"], capture_output=True, text=True, check=True
    ).stdout
    assert line.startswith(f"pipe:cat {shards}/dev/features.000000.tar: can't keep it in {tmp_path}/c/rnnt-shards-")
    assert line.endswith(": File too large; give a --shard-cache on a local disk with room\n")
    assert not (tmp_path / "c").exists() or not list((tmp_path / "c").iterdir())


# --- the folder -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path):
    """`cache(limit)`: a folder for fetched files."""
    made = []

    def make(limit):
        made.append(FileCache(tmp_path / "cache", limit))
        return made[-1]

    yield make
    for one in made:
        with suppress(OSError):
            one.close()


def names(cache):
    return sorted(path.name for path in cache.folder.iterdir() if not path.name.startswith("."))


def test_what_is_open_stays_and_the_rest_is_bounded(cache):
    kept, (a, b, c, d) = cache(2000), ("00aa", "00bb", "00cc", "00dd")
    first = kept.open(a, a, lambda file: file.write(b"a" * 1000))
    for key in (b, c, d):
        kept.open(key, key, lambda file: file.write(b"x" * 1000)).close()
    assert names(kept) == [a, d]
    first.close()
    kept.open(d, d, None).close()  # it is there: nothing has to fill it
    kept.open(b, b, lambda file: file.write(b"x" * 1000)).close()
    assert names(kept) == [b, d]


def test_an_open_file_is_read_on_though_it_was_removed(cache):
    kept = cache(0)
    file = kept.open("00aa", "a", lambda file: file.write(b"content"))
    os.unlink(kept.folder / "00aa")
    assert file.read() == b"content"
    file.close()


def test_the_last_one_removes_the_folder(cache):
    one, other = cache(1e9), cache(1e9)
    one.open("00aa", "a", lambda file: file.write(b"a")).close()
    one.close()
    assert names(other) == ["00aa"]
    other.close()
    assert not other.folder.exists()


def test_a_killed_process_leaves_nothing_for_the_next_one(cache, tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from rnnt.data.sets.cache import FileCache
cache = FileCache(Path({str(tmp_path / "cache")!r}), 1e9)
cache.open("00aa", "a", lambda file: file.write(b"old"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert (tmp_path / "cache/00aa").exists()
    with cache(1e9).open("00aa", "a", lambda file: file.write(b"new")) as file:
        assert file.read() == b"new"


def test_a_folder_that_others_can_write_is_refused(cache, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(UserError, match="cache: others can write there; remove it, or give another --shard-cache"):
        cache(1e9)
    (tmp_path / "cache").rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="others can write there"):
        cache(1e9)


def test_many_processes_fetch_a_file_once(tmp_path):
    code = f"""
import sys
from pathlib import Path
from rnnt.data.sets.cache import FileCache
cache = FileCache(Path({str(tmp_path / "cache")!r}), 0)
sys.stdin.readline()
def fill(file):
    open(sys.argv[1], "a").write("x")
    file.write(b"content")
with cache.open("00aa", "a", fill) as file:
    print(file.read().decode(), flush=True)
    sys.stdin.readline()
cache.close()
"""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, tmp_path / "log"]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["content\n"] * 4
    for process in processes:
        process.communicate("end\n")
    assert (tmp_path / "log").read_text() == "x" and not (tmp_path / "cache").exists()


def test_a_program_removes_its_folder(shards, tmp_path):
    lists = write_lists(shards, tmp_path / "lists", lambda path: f"pipe:cat {shards}/{path}")
    code = """
import sys
from pathlib import Path
from rnnt.data.sets.config import FetchConfig
from rnnt.data.sets.shards import ShardManifest
manifest = ShardManifest(sys.argv[1], 8, FetchConfig(allow_pipes=True))
manifest[0]
print(sum(1 for path in Path(sys.argv[2]).glob("rnnt-shards-*/[0-9a-f]*")))
"""
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, lists / "dev.shards", tmp_path / "tmp"],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "2\n" and not list((tmp_path / "tmp").iterdir())
