"""No line of a manifest makes its reader run a command, fetch something or unpickle."""

import json
import pickle

import numpy as np
import pytest
from lhotse import CutSet

from rnnt.data.manifest import CutManifest, read_items
from rnnt.errors import UserError


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def first_line(folder):
    return json.loads((folder / "train.jsonl").read_text().splitlines()[0])


def with_source(item, **changes):
    item["recording"]["sources"][0].update(changes)
    return item


def stored(item, **changes):
    item["features"] = {
        "type": "fbank", "num_frames": 50, "num_features": 20, "frame_shift": 0.01, "sampling_rate": 8000, "start": 0.0,
        "duration": 0.5, "storage_type": "lilcom_files", "storage_path": "feats", "storage_key": "a", **changes,
    }  # fmt: skip
    return item


def with_impulse_response(item, ran):
    """A transform that brings a recording of its own."""
    rir = json.loads(json.dumps(item["recording"]))
    rir["sources"][0].update(type="command", source=f"touch {ran}")
    item["recording"]["transforms"] = [{"name": "ReverbWithImpulseResponse", "kwargs": {"rir": rir}}]
    return item


HARM = {
    "command": lambda item, ran: with_source(item, type="command", source=f"touch {ran}; cat x.wav"),
    "url": lambda item, ran: with_source(item, type="url", source="http://127.0.0.1/x.wav"),
    "url that is a pipe": lambda item, ran: with_source(item, type="url", source=f"pipe:touch {ran}"),
    "shar": lambda item, ran: with_source(item, type="shar"),
    "no type": lambda item, ran: with_source(item, type=None),
    "path that is a url": lambda item, ran: with_source(item, source="s3://bucket/x.wav"),
    "path that is a number": lambda item, ran: with_source(item, source=7),
    "impulse response": with_impulse_response,
    "features by url": lambda item, ran: stored(item, storage_type="lilcom_url", storage_path="http://127.0.0.1"),
    "features by kaldiio": lambda item, ran: stored(item, storage_type="kaldiio", storage_path=f"touch {ran} |"),
    "features that are a pipe": lambda item, ran: stored(item, storage_path=f"pipe:touch {ran};"),
    "features that are a pickle": lambda item, ran: stored(
        item, storage_type="memory_raw", storage_path="", storage_key=pickle.dumps(Touch(ran), 0).decode("latin-1")
    ),
    "array of another field": lambda item, ran: {
        **item,
        "custom": {"x": {"array": {"storage_type": "memory_raw", "storage_path": "", "storage_key": "", "shape": [1]}}},
    },
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_a_harmful_cut_is_refused_by_whoever_reads_it(audio_set, harm):
    path, ran = audio_set / "train.jsonl", audio_set / "ran"
    path.write_text(json.dumps(HARM[harm](first_line(audio_set), ran)) + "\n")
    with pytest.raises(UserError, match="train.jsonl: (utterance|line) 1") as error:
        CutManifest(path)[0]
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="train.jsonl: line 1: "):
        list(read_items(path, 3))
    assert not ran.exists()


def test_files_are_no_harm(audio_set):
    path = audio_set / "train.jsonl"
    cuts = list(CutSet.from_file(path))
    assert [cut.id for cut in map(CutManifest(path).__getitem__, range(len(cuts)))] == [cut.id for cut in cuts]
    path.write_text(json.dumps(stored(first_line(audio_set), storage_path=str(audio_set / "a b: c"))) + "\n")
    assert CutManifest(path)[0].features.storage_key == "a"


@pytest.mark.parametrize("content", ["pickle", "no archive", "empty"])
def test_an_index_that_is_not_ours_is_made_again(audio_set, content):
    index = audio_set / ".train.jsonl.idx.npz"
    if content == "pickle":
        np.savez(index, stamp=np.array([Touch(audio_set / "ran")], dtype=object), offsets=[0], durations=[1.0])
    else:
        index.write_bytes(b"PK\3\4nothing" if content == "no archive" else b"")
    assert len(CutManifest(audio_set / "train.jsonl")) == 6
    assert not (audio_set / "ran").exists()
