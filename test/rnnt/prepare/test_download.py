import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from rnnt.errors import UserError
from rnnt.prepare import download

DATA = bytes(range(256)) * 800
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture
def server():
    """A server of `server.data` that answers Range and breaks off after `server.breaks` bytes of an answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            here.ranges.append(self.headers.get("Range"))
            if self.path != "/a.tar.gz":
                return self.send_error(404)
            start = int(self.headers["Range"][6:-1]) if here.resumes and self.headers.get("Range") else 0
            if start >= len(here.data):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(here.data) - start))
            self.end_headers()
            self.wfile.write(here.data[start:][: here.breaks])

        def log_message(self, *args):
            pass

    here = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.data, here.breaks, here.resumes, here.ranges = DATA, None, True, []
    here.url = f"http://127.0.0.1:{here.server_port}/a.tar.gz"
    threading.Thread(target=here.serve_forever, daemon=True).start()
    yield here
    here.shutdown()
    here.server_close()


def test_download_continues_where_it_broke_off(server, tmp_path):
    server.breaks = 100_000
    download.fetch(server.url, tmp_path / "a.tar.gz", MD5)
    assert (tmp_path / "a.tar.gz").read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.gz"]
    download.fetch(server.url, tmp_path / "a.tar.gz", MD5)
    assert len(server.ranges) == 3


def test_what_a_killed_run_left_is_used(server, tmp_path):
    (tmp_path / "a.tar.gz.part").write_bytes(DATA[:777])
    download.fetch(server.url, tmp_path / "a.tar.gz", MD5)
    assert server.ranges == ["bytes=777-"] and (tmp_path / "a.tar.gz").read_bytes() == DATA
    (tmp_path / "b.tar.gz.part").write_bytes(DATA)
    download.fetch(server.url, tmp_path / "b.tar.gz", MD5)
    assert (tmp_path / "b.tar.gz").read_bytes() == DATA


def test_a_server_that_can_not_resume_sends_all_again(server, tmp_path):
    server.resumes = False
    (tmp_path / "a.tar.gz.part").write_bytes(DATA[:777])
    download.fetch(server.url, tmp_path / "a.tar.gz", MD5)
    assert (tmp_path / "a.tar.gz").read_bytes() == DATA


def test_bad_archives_are_refused_and_named(server, tmp_path):
    server.data = b"x" + DATA[1:]
    with pytest.raises(UserError, match=f"a.tar.gz.part: bad archive, its MD5 is .* and should be {MD5}; run it again"):
        download.fetch(server.url, tmp_path / "a.tar.gz", MD5)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.tar.gz").write_bytes(b"mine")
    with pytest.raises(UserError, match="bad archive.*remove it"):
        download.fetch(server.url, tmp_path / "a.tar.gz", MD5)
    assert (tmp_path / "a.tar.gz").read_bytes() == b"mine"


def test_no_server_and_no_archive(server, tmp_path):
    with pytest.raises(UserError, match="http://127.0.0.1:9/a.tar.gz: .*run it again"):
        download.fetch("http://127.0.0.1:9/a.tar.gz", tmp_path / "a.tar.gz", MD5)
    with pytest.raises(UserError, match="Not Found|404"):
        download.fetch(server.url.replace("/a", "/b"), tmp_path / "b.tar.gz", MD5)
    assert len(server.ranges) == 1


def test_a_full_disk_is_seen_before(tmp_path):
    download.check_room(tmp_path / "not" / "there", 1000, "a")
    with pytest.raises(UserError, match=r"the corpus needs 1000000\.0 GB and the disk has .* GB left"):
        download.check_room(tmp_path, 1e15, "the corpus")


def archive(path, files, link=None):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        if link:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(member)


def test_unpacked_is_whole(tmp_path):
    archive(tmp_path / "a.tar.gz", {"C/README": b"new", "C/LICENCE": b"free", "C/part/1/x": b"audio"})
    corpus = tmp_path / "C"
    corpus.mkdir()
    (corpus / "README").write_bytes(b"old")
    download.unpack(tmp_path / "a.tar.gz", corpus, "part")
    assert (corpus / "part/1/x").read_bytes() == b"audio"
    assert sorted((p.name, p.read_bytes()) for p in corpus.glob("*") if p.is_file()) == [
        ("LICENCE", b"free"),
        ("README", b"old"),
    ]
    assert sorted(p.name for p in corpus.iterdir()) == ["LICENCE", "README", "part"]


@pytest.mark.parametrize(
    "files, link, message",
    [
        ({"../../evil": b"x", "C/part/x": b"x"}, None, "outside"),
        ({"C/part/x": b"x"}, ("C/part/y", "/etc"), "absolute|outside"),
        ({"C/other/x": b"x"}, None, "holds no folder part"),
    ],
    ids=["path", "link", "other"],
)
def test_unsafe_and_other_archives_leave_nothing(tmp_path, files, link, message):
    archive(tmp_path / "a.tar.gz", files, link)
    (tmp_path / "C").mkdir()
    with pytest.raises(UserError, match=f"a.tar.gz: .*({message})"):
        download.unpack(tmp_path / "a.tar.gz", tmp_path / "C", "part")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["C", "a.tar.gz"]


def test_a_truncated_archive_is_named(tmp_path):
    archive(tmp_path / "a.tar.gz", {"C/part/x": bytes(range(256)) * 100})
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(data[:-40])
    with pytest.raises(UserError, match="a.tar.gz: can't be unpacked"):
        download.unpack(tmp_path / "a.tar.gz", tmp_path, "part")
