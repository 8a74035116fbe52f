"""Stages 0 and 1 of LibriSpeech, on a corpus of a few seconds in its layout."""

import functools
import hashlib
import http.server
import json
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from rnnt.data.audio import write_audio

PARTS = ["train-a", "train-b", "dev-a"]


def write_corpus(root):
    for number, part in enumerate(PARTS):
        folder = root / "LibriSpeech" / part / f"{number}1" / "7"
        folder.mkdir(parents=True)
        lines = []
        for i in range(2):
            name = f"{number}1-7-{i:04d}"
            noise = np.random.default_rng(i).standard_normal(8000 + 160 * i)
            write_audio(folder / f"{name}.flac", 0.1 * noise, 16000)
            lines.append(f"{name} HELLO WORLD{' AGAIN' * i}\n")
        (folder / f"{number}1-7.trans.txt").write_text("".join(lines))
    (root / "LibriSpeech" / "README.TXT").write_text("read me")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "dl")
    return tmp_path / "dl"


@pytest.fixture
def get_corpus(recipe_program):
    return recipe_program("librispeech", "get_corpus")


def fails(main, arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 1
    return capsys.readouterr().err


def test_the_list_is_that_of_the_published_archives(get_corpus):
    archives = get_corpus.read_archives(get_corpus.ARCHIVES)
    assert len(archives) == 7 and archives["dev-clean"][0] == "42e2234ba48799c1f50f24a7926300a1"
    assert all(len(md5) == 32 and size > 3e8 for md5, size in archives.values())


@pytest.mark.parametrize("dl_dir", ["dl", "dl/LibriSpeech"])
def test_an_existing_corpus_is_used_where_it_lies(corpus, get_corpus, dl_dir):
    before = sorted(corpus.rglob("*"))
    get_corpus.main(["--dl-dir", dl_dir, "--parts", "train-a dev-a"])
    source = json.loads(Path("data/corpus/source.json").read_text())
    assert source["path"] == str(corpus / "LibriSpeech") and source["parts"] == ["train-a", "dev-a"]
    assert sorted(corpus.rglob("*")) == before
    get_corpus.main(["--parts", "train-b"])  # --dl-dir of last time
    assert json.loads(Path("data/corpus/source.json").read_text())["path"] == source["path"]


def test_an_unknown_part_is_named(corpus, get_corpus, capsys):
    message = fails(get_corpus.main, ["--dl-dir", "dl", "--parts", "train-c"], capsys)
    assert "LibriSpeech/train-c: no such folder, and the parts to download are dev-clean" in message


@pytest.fixture
def site(corpus, tmp_path):
    """`(address, list of archives)` of a server with the archives of the corpus."""
    folder = tmp_path / "site"
    folder.mkdir()
    lines = []
    for part in PARTS:
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as tar:
            tar.add(corpus / "LibriSpeech" / "README.TXT", "LibriSpeech/README.TXT")
            tar.add(corpus / "LibriSpeech" / part, f"LibriSpeech/{part}")
        lines.append(f"{hashlib.md5((folder / f'{part}.tar.gz').read_bytes()).hexdigest()} {part} 1\n")
    (tmp_path / "archives.txt").write_text("".join(lines))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, ["--url", f"http://127.0.0.1:{server.server_port}", "--archives", str(tmp_path / "archives.txt")]
    server.shutdown()
    server.server_close()


def test_parts_are_downloaded_and_archives_at_hand_are_used(corpus, site, get_corpus, capsys):
    folder, options = site
    Path("new").mkdir()
    (folder / "dev-a.tar.gz").rename("new/dev-a.tar.gz")
    get_corpus.main(["--dl-dir", "new", "--parts", "train-a", "dev-a", *options])
    assert sorted(p.name for p in Path("new").iterdir()) == ["LibriSpeech", "dev-a.tar.gz"]
    assert sorted(p.name for p in Path("new/LibriSpeech").iterdir()) == ["README.TXT", "dev-a", "train-a"]
    for part in ("train-a", "dev-a"):
        old, new = (
            {p.name: p.read_bytes() for p in (c / "LibriSpeech" / part).rglob("*.*")} for c in (corpus, Path("new"))
        )
        assert old == new
    # A bad archive: named, and nothing of it is there.
    (folder / "train-b.tar.gz").write_bytes(b"no archive")
    message = fails(get_corpus.main, ["--parts", "train-b", *options], capsys)
    assert "new/train-b.tar.gz.part: bad archive" in message
    assert not Path("new/LibriSpeech/train-b").exists()


def test_a_full_disk_is_seen_before_the_download(site, get_corpus, capsys):
    _, options = site
    Path(options[-1]).write_text("0 train-a 1000000000\n")
    message = fails(get_corpus.main, ["--dl-dir", "new", "--parts", "train-a", *options], capsys)
    assert "getting train-a needs 2000000.0 GB and the disk has" in message


def test_noise_is_downloaded_or_used_where_it_lies(corpus, site, get_corpus, recipe_program, capsys):
    folder, options = site
    get_noise = recipe_program("librispeech", "get_noise")
    (corpus / "musan" / "noise").mkdir(parents=True)
    write_audio(corpus / "musan" / "noise" / "a.wav", np.zeros(4000), 16000)
    with tarfile.open(folder / "musan.tar.gz", "w:gz") as tar:
        tar.add(corpus / "musan", "musan")
    md5 = hashlib.md5((folder / "musan.tar.gz").read_bytes()).hexdigest()
    get_corpus.main(["--dl-dir", "dl", "--parts", "train-a"])
    get_noise.main([])  # beside the corpus
    assert Path("data/noise_corpus/musan").resolve() == corpus / "musan"
    url = ["--url", f"{options[1]}/musan.tar.gz"]
    assert "bad archive" in fails(get_noise.main, ["--dl-dir", "new", *url], capsys)
    get_noise.main(["--dl-dir", "new", *url, "--md5", md5])
    assert Path("data/noise_corpus/musan").resolve() == Path("new/musan").resolve()
    assert [p.name for p in Path("data/noise_corpus/musan").rglob("*.wav")] == ["a.wav"]
    assert not Path("new/musan.tar.gz").exists()


def test_manifests(corpus, get_corpus, recipe_program, capsys):
    from lhotse import RecordingSet, SupervisionSet

    get_corpus.main(["--dl-dir", "dl", "--parts", *PARTS])
    manifests = recipe_program("librispeech", "make_manifests")
    manifests.main(["--parts", " ".join(PARTS), "--nj", "2"])
    assert Path("data/manifests/sets").read_text() == "train\ndev-a\n"
    supervisions = list(SupervisionSet.from_file("data/manifests/train_supervisions.jsonl.gz"))
    assert [s.id for s in supervisions] == ["01-7-0000", "01-7-0001", "11-7-0000", "11-7-0001"]
    assert supervisions[1].text == "HELLO WORLD AGAIN" and supervisions[1].speaker == "01"
    recordings = RecordingSet.from_file("data/manifests/dev-a_recordings.jsonl.gz").to_eager()
    assert recordings["21-7-0001"].num_samples == 8160 and recordings["21-7-0001"].sampling_rate == 16000
    assert "train: 4 utterances" in capsys.readouterr().out
    chapter = corpus / "LibriSpeech/dev-a/21/7"
    (chapter / "21-7-0001.flac").write_bytes(b"no audio")
    where = "dev-a/21/7/21-7.trans.txt"
    assert f"{where}:2: " in fails(manifests.main, ["--parts", *PARTS], capsys)
    (chapter / "21-7-0001.flac").unlink()
    missing = "the audio file 21-7-0001.flac is missing; get this part again (stage 0)"
    assert f"{where}:2: {missing}" in fails(manifests.main, ["--parts", *PARTS], capsys)
    (chapter / "21-7.trans.txt").write_text("21-7-0000\n")
    assert f"{where}:1: 21-7-0000 has no transcript" in fails(manifests.main, ["--parts", *PARTS], capsys)
    (chapter / "21-7.trans.txt").unlink()
    assert "dev-a: holds no *.trans.txt" in fails(manifests.main, ["--parts", *PARTS], capsys)
