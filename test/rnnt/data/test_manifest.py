"""Random access to JSON-lines manifests."""

import pickle

import numpy as np
import pytest
from lhotse import CutSet
from lhotse.testing.dummies import dummy_cut

from rnnt.data.manifest import CutManifest
from rnnt.errors import UserError


@pytest.fixture
def path(tmp_path):
    cuts = CutSet.from_cuts(dummy_cut(i, start=0.0, duration=1.0 + i) for i in range(5))
    cuts.to_file(tmp_path / "train.jsonl")
    return tmp_path / "train.jsonl"


def test_cuts_by_number(path):
    manifest = CutManifest(path)
    assert len(manifest) == 5
    np.testing.assert_allclose(manifest.durations, [1, 2, 3, 4, 5])
    assert [manifest[i].duration for i in (4, 0, 2)] == [5, 1, 3]
    assert pickle.loads(pickle.dumps(manifest))[3].duration == 4


def test_index_is_used_and_made_anew(path):
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
