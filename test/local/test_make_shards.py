"""make_shards.py, and what reads shards: training, decoding, lhotse; broken ones are named."""

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnt.alignment.program import main as align
from rnnt.checkpoints.files import load_checkpoint
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.data.sets.shard import Shard
from rnnt.data.sets.shards import ShardManifest
from rnnt.decode import main as decode
from rnnt.errors import UserError
from rnnt.train import main as train


@pytest.fixture(scope="module")
def shards(toy, load_program, tmp_path_factory):
    """The toy data in shards of ten utterances, in their order."""
    out = tmp_path_factory.mktemp("shards")
    words = ["--manifest-dir", toy, "--sets", "train", "dev", "--out", out, "--shard-size", 10, "--shuffle", "false"]
    load_program("make_shards").main(list(map(str, words)))
    return out


def weights(exp, name="epoch-1.pt"):
    return load_checkpoint(exp / name)["model"]


def assert_same(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained(toy_argv, tmp_path_factory):
    """An epoch on the manifest."""
    exp = tmp_path_factory.mktemp("exp")
    train(toy_argv(exp, num_epochs=1))
    return exp


def test_training_and_decoding_are_those_of_the_manifest(trained, toy, shards, toy_argv, tmp_path):
    exp = tmp_path / "exp"
    train(toy_argv(exp, num_epochs=1, manifest_dir=shards))
    assert_same(weights(exp), weights(trained))
    assert (exp / "epochs.jsonl").read_text() == (trained / "epochs.jsonl").read_text()
    for folder in (toy, shards):
        words = [
            "--exp-dir",
            exp,
            "--manifest-dir",
            folder,
            "--epoch",
            1,
            "--num-workers",
            0,
            "--threads",
            1,
            "--max-sym-per-utt",
            20,
        ]
        decode(list(map(str, words)))
        (exp / "decode_greedy_search_epoch-1_max-sym-per-utt-20").rename(exp / folder.name)
    assert (exp / toy.name / "dev" / "hyp.trn").read_text() == (exp / shards.name / "dev" / "hyp.trn").read_text()


def test_parts_of_shards_are_refused_before_anything_is_written(trained, shards, capsys):
    before = sorted(trained.rglob("*"))
    with pytest.raises(SystemExit):
        align([
            "--exp-dir", str(trained), "--manifest-dir", str(shards), "--sets", "dev", "--cut-seconds", "5",
            "--epoch", "1", "--device", "cpu",
        ])  # fmt: skip
    assert "--cut-seconds can't cut a set in shards" in capsys.readouterr().err
    assert sorted(trained.rglob("*")) == before


def test_resumed_run_opens_only_shards_of_its_window(shards, toy_argv, tmp_path, monkeypatch):
    opened, init = [], Shard.__init__
    monkeypatch.setattr(Shard, "__init__", lambda self, cuts, *rest: (opened.append(cuts), init(self, cuts, *rest))[1])
    exp = tmp_path / "exp"
    options = {"num_epochs": 1, "manifest_dir": shards, "open_shards": 2, "save_every_n": 1, "keep_last_k": 99}
    train(toy_argv(exp, **options))
    assert len(set(opened)) == 5 + 1
    whole, done = weights(exp), len(list(exp.glob("checkpoint-*.pt")))
    for path in [*exp.glob("epoch-*.pt"), *exp.glob(f"checkpoint-{done}.pt")]:
        path.unlink()
    opened.clear()
    train(toy_argv(exp, **options))
    assert len({path for path in opened if path.parent.name == "train"}) <= 2
    assert_same(weights(exp), whole)


def test_few_shards_are_open_at_once(shards):
    manifest = ShardManifest(shards / "train.shards", open_shards=1)
    for number in range(0, len(manifest), 7):
        manifest[number]
        assert len(manifest._open) <= 2
    assert [len(w) for w in manifest.windows()] == [10, 10, 10, 10, 8]


def test_data_are_found_without_the_headers_of_the_tar_file(shards, monkeypatch):
    monkeypatch.setattr("tarfile.open", None)
    assert len(ShardManifest(shards / "train.shards", 8)[25].load_features())


def test_lhotse_reads_them(shards, toy):
    from lhotse import CutSet

    theirs = list(CutSet.from_shar(in_dir=str(shards / "train")))
    ours = CutManifest(toy / "train.jsonl")
    assert [cut.id for cut in theirs] == [ours[i].id for i in range(len(ours))]
    assert all(np.array_equal(cut.load_features(), ours[i].load_features()) for i, cut in enumerate(theirs))
    assert [cut.supervisions[0].text for cut in theirs] == [ours[i].supervisions[0].text for i in range(len(ours))]


def test_shards_of_lhotse_are_read(toy, tmp_path):
    from lhotse import CutSet
    from lhotse.shar import SharWriter

    cuts = CutSet.from_file(toy / "train.jsonl")
    (tmp_path / "train").mkdir()
    with SharWriter(tmp_path / "train", {"features": "numpy"}, shard_size=20) as writer:
        for cut in cuts:
            writer.write(cut)
    manifest = ShardManifest(tmp_path / "train.shards", 8)
    assert (tmp_path / "train.shards").is_file()
    assert np.array_equal(manifest.durations, CutManifest(toy / "train.jsonl").durations)
    assert np.array_equal(manifest[33].load_features(), cuts[33].load_features())


@pytest.mark.parametrize("loud", [1.0, 30.0])
def test_audio_is_kept_as_it_is(load_program, audio_cuts, tmp_path, loud):
    """In 16 bits as FLAC; louder than full scale, which only WAV can hold, as floats."""
    folder = audio_cuts(loud)
    words = ["--manifest-dir", folder, "--out", tmp_path, "--data", "audio", "--shard-size", 4, "--seed", 3]
    load_program("make_shards").main(list(map(str, words)))
    shard, plain = ShardManifest(tmp_path / "train.shards", 8), CutManifest(folder / "train.jsonl")
    originals = {cut.id: cut for cut in map(plain.__getitem__, range(len(plain)))}
    load = open_feature_loader(plain).load
    found = [shard[i] for i in range(len(shard))]
    assert sorted(cut.id for cut in found) == sorted(originals) and [c.id for c in found] != list(originals)
    for number, cut in enumerate(found):
        assert shard.durations[number] == np.float32(cut.duration)
        assert np.array_equal(load(cut), load(originals[cut.id]))


def test_stopped_and_continued(toy, shards, load_program, tmp_path, capsys):
    main = load_program("make_shards").main
    words = ["--manifest-dir", toy, "--sets", "train", "--out", tmp_path, "--shuffle", "false", "--shard-size", 10]
    words = list(map(str, words))
    main([*words, "--split", "2/2"])
    folder = tmp_path / "train"
    assert {p.name for p in folder.glob("cuts*")} == {"cuts.000001.jsonl.gz", "cuts.000003.jsonl.gz"}
    assert not (tmp_path / "train.shards").exists()
    before = (folder / "features.000001.tar").stat().st_mtime_ns
    main([*words, "--nj", "2"])
    assert (folder / "features.000001.tar").stat().st_mtime_ns == before
    for path in [shards / "train.shards", *(shards / "train").iterdir()]:
        assert path.read_bytes() == (tmp_path / path.relative_to(shards)).read_bytes()
    with pytest.raises(SystemExit):
        main([*words[:-1], "20"])
    assert "has shards of other utterances or options; remove it" in capsys.readouterr().err


def shorten(path):
    path.write_bytes(path.read_bytes()[:3000])


def rewrite(path, change):
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    with gzip.open(path, "wt") as file:
        file.write("\n".join(change(lines)) + "\n")


def command_source(lines):
    item = json.loads(lines[0])
    item["features"].update(storage_type="lilcom_url", storage_path="http://x/y")
    item["supervisions"][0]["custom"] = {"more": {"sources": [{"type": "command", "source": "touch ran"}]}}
    return [json.dumps(item), *lines[1:]]


def without_places(path):
    """As lhotse writes it."""
    rewrite(path, lambda lines: [re.sub(r'"storage_key": "[^"]*"', '"storage_key": ""', line) for line in lines])


def theirs(harm):
    """`harm` to a tar file whose cuts don't say where their data are."""

    def both(tar):
        without_places(tar.with_name("cuts.000000.jsonl.gz"))
        harm(tar)

    return both


PLACE = "features.000000.tar: the data of train-00. are not where they should be; write the shard again"


@pytest.mark.parametrize(
    "name, harm, words",
    [
        ("train/features.000000.tar", Path.unlink, "features.000000.tar: can't read it .*No such file"),
        ("train/features.000000.tar", lambda p: p.write_bytes(p.read_bytes()[:600]), PLACE),
        ("train/features.000000.tar", lambda p: p.write_bytes(b"0" * 20000), PLACE),
        ("train/features.000000.tar", theirs(lambda p: p.write_bytes(b"")), "can't read it as a tar file"),
        ("train/features.000000.tar", theirs(lambda p: p.write_text("hello")), "can't read it as a tar file"),
        ("train/features.000000.tar", theirs(shorten), "can't read it as a tar file|has .* members for the 10 cuts"),
        (
            "train/cuts.000000.jsonl.gz",
            lambda p: p.write_bytes(p.read_bytes()[:90]),
            "cuts.000000.jsonl.gz: can't read it",
        ),
        ("train/cuts.000000.jsonl.gz", lambda p: rewrite(p, lambda x: x[1:]), "has 9 cuts, .*train.shards says 10"),
        ("train/cuts.000000.jsonl.gz", lambda p: rewrite(p, lambda x: ["{", *x[1:]]), "cuts.000000.jsonl.gz: line 1: "),
        (
            "train/cuts.000000.jsonl.gz",
            lambda p: rewrite(p, lambda x: [re.sub(r'"train-00\d"', '"other"', line) for line in x]),
            "the data of other are not where they should be",
        ),
        (
            "train/cuts.000000.jsonl.gz",
            lambda p: (without_places(p), rewrite(p, lambda x: x[1:] + x[:1])),
            "line 1: the cut is train-001, in .* there is train-000",
        ),
        (
            "train/cuts.000000.jsonl.gz",
            lambda p: rewrite(p, command_source),
            "line 1: a source is the command 'touch ran'",
        ),
        ("train.shards", lambda p: p.write_text('{"cuts": 3}\n'), "train.shards: line 1: names no cuts; remove it"),
        ("train.shards", lambda p: p.write_text(""), "train.shards: names no shard"),
        (
            "train.shards",
            lambda p: p.write_text('{"cuts": "cuts.000000.jsonl.gz", "features": "f.tar", "durations": [0]}\n'),
            "durations is not a list of seconds",
        ),
        (
            "train.shards",
            lambda p: p.write_text(p.read_text().replace("[", "[1.5, ", 1)),
            "has 10 cuts, .*train.shards says 11",
        ),
    ],
)
def test_broken_shards_are_named(shards, tmp_path, name, harm, words):
    shutil.copytree(shards / "train", tmp_path / "train")
    shutil.copy(shards / "train.shards", tmp_path)
    harm(tmp_path / name)
    with pytest.raises(UserError, match=words) as error:
        ShardManifest(tmp_path / "train.shards", 2)[0]
    assert "\n" not in str(error.value) and not Path("ran").exists()


def test_a_folder_without_shards_is_no_set(tmp_path):
    with pytest.raises(UserError, match="no shards in it .*make_shards.py writes them"):
        ShardManifest(tmp_path / "train.shards", 2)
