"""JSON-lines manifests, read at random or from beginning to end."""

import gzip
import pickle

import numpy as np
import pytest
from lhotse import CutSet
from lhotse.testing.dummies import dummy_cut

from rnnt.data.manifest import CutManifest, count_lines, read_items
from rnnt.errors import UserError


@pytest.fixture
def path(tmp_path):
    cuts = CutSet.from_cuts(dummy_cut(i, start=0.0, duration=1.0 + i) for i in range(5))
    cuts.to_file(tmp_path / "train.jsonl")
    path = tmp_path / "train.jsonl"
    path.write_text(
        path.read_text().replace('"type": "command"', '"type": "file"').replace('"test/fixtures', '"/test/fixtures')
    )  # the dummies echo their audio
    return path


def test_cuts_by_number(path):
    manifest = CutManifest(path)
    assert len(manifest) == 5
    np.testing.assert_allclose(manifest.durations, [1, 2, 3, 4, 5])
    assert [manifest[i].duration for i in (4, 0, 2)] == [5, 1, 3]
    assert pickle.loads(pickle.dumps(manifest))[3].duration == 4


def test_index_is_used_and_made_again(path):
    CutManifest(path)
    index = path.with_name(".train.jsonl.idx.npz")
    assert index.exists()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + "\n")
    assert len(CutManifest(path)) == 2
    index.write_bytes(b"rubbish")
    assert len(CutManifest(path)) == 2


def test_bad_manifests_are_named(path, tmp_path):
    with pytest.raises(UserError, match="dev.jsonl: no such manifest"):
        CutManifest(tmp_path / "dev.jsonl")
    path.write_text(path.read_text() + '{"id": "half')
    with pytest.raises(UserError, match="train.jsonl: line 6"):
        CutManifest(path)
    path.write_text("")
    with pytest.raises(UserError, match="empty"):
        CutManifest(path)


@pytest.mark.parametrize("damage", ["none", "cut off", "flipped"])
def test_compressed_manifests(path, tmp_path, damage):
    data = path.read_bytes()
    packed = bytearray(gzip.compress(data))
    if damage == "cut off":
        del packed[-20:]
    if damage == "flipped":
        packed[40:60] = bytes(255 - byte for byte in packed[40:60])
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    if damage == "none":
        assert count_lines(tmp_path / "a.jsonl.gz") == count_lines(path) == 5
        assert b"".join(line for line, _ in read_items(tmp_path / "a.jsonl.gz", 3)) == data
        return
    assert count_lines(tmp_path / "a.jsonl.gz") is None
    with pytest.raises(UserError, match=r"a.jsonl.gz: line \d: broken .* run stage 3 again"):
        list(read_items(tmp_path / "a.jsonl.gz", 3))
