"""The main job, from recordings to the table: run.sh as a user calls it, with two epochs instead of seven.

Then the model in sherpa-onnx: the same tokens at the same times as PyTorch's, for every utterance.
"""

import json
import os
import subprocess

import numpy as np
import pytest
import soundfile
import torch

import rnnt
from rnnt.export_model import main as export
from rnnt.search import search
from rnnt.search.config import SearchConfig


@pytest.fixture
def recipe(copy_recipe):
    return copy_recipe("digits")


def run(recipe):
    command = [recipe / "run.sh", "--dl-dir", os.environ.get("RNNT_TEST_DATA", ""), "--train-opts", "--num-epochs 2"]
    command += ["--decode-sets", "dev test"]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/")


@pytest.mark.slow
def test_from_recordings_to_the_table(recipe):
    first = run(recipe)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    for method in ("greedy_search", "beam_search", "modified_beam_search"):
        for name in ("dev", "test"):
            (folder,) = (recipe / "exp" / "train").glob(f"decode_{method}_avg-2*/{name}")
            assert json.loads((folder / "summary.json").read_text())["wer"] <= 30.0
            assert (folder / "wer").read_text().startswith("%WER ")
            assert len((folder / "hyp.trn").read_text().splitlines()) == (150 if name == "dev" else 300)
    table = first.stdout[first.stdout.rindex("\nset ") :]
    assert table.count("  test ") == 3 and "modified_beam_search" in table

    compare_with_sherpa_onnx(recipe)

    before = {p: p.stat().st_mtime_ns for p in recipe.glob("exp/train/**/*.trn")}
    second = run(recipe)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "training is complete" in second.stdout and second.stdout.count("kept") >= 3
    assert second.stdout[second.stdout.rindex("\nset ") :] == table
    assert {p: p.stat().st_mtime_ns for p in before} == before


def compare_with_sherpa_onnx(recipe):
    """All utterances of the two test sets."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx")
    cuts = recipe / "data" / "cuts"
    options = ["--exp-dir", str(recipe / "exp" / "train"), "--avg", "2", "--manifest-dir", str(cuts)]
    export([*options, "--out", str(recipe / "model")])
    export([*options, "--out", str(recipe / "onnx"), "--format", "onnx"])
    model, folder = rnnt.load_model(recipe / "model", "cpu"), recipe / "onnx"
    sounds = []
    for name in ("test", "test-newspeaker"):
        for line in (cuts / f"{name}.jsonl").read_text().splitlines():
            source = json.loads(line)["recording"]["sources"][0]["source"]
            sounds.append(soundfile.read(recipe / source, dtype="float32")[0])
    assert len(sounds) == 500

    graphs = [str(folder / f"{name}.onnx") for name in ("encoder", "decoder", "joiner")]
    lines = (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()
    ids = {line.rsplit(" ", 1)[0].replace("\u2581", " "): i for i, line in enumerate(lines)}
    # 500 were equal where this was tried; the features of the two libraries differ in the last digits.
    for method, least in (("greedy_search", 498), ("modified_beam_search", 495)):
        recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
            *graphs, str(folder / "tokens.txt"), sample_rate=8000, feature_dim=40, decoding_method=method
        )
        config = SearchConfig(decoding_method=method, max_sym_per_frame=1)
        same = 0
        for first in range(0, len(sounds), 20):
            streams, wanted = [], []
            for sound in sounds[first : first + 20]:
                streams.append(recognizer.create_stream())
                streams[-1].accept_waveform(8000, sound)
                x_BTF = torch.from_numpy(np.asarray(model._extractor.extract(sound)))[None]
                with torch.no_grad():
                    h_BTD, h_len_B = model.model.encode(x_BTF, torch.tensor([x_BTF.shape[1]]))
                best = search(model.model, h_BTD, h_len_B, config)[0][0]
                wanted.append((list(best.tokens), list(best.frames) if method == "greedy_search" else None))
            recognizer.decode_streams(streams)
            for stream, one in zip(streams, wanted):
                # sherpa-onnx counts 40 ms for a frame, which lasts 80 ms here.
                frames = [round(t / 0.04) for t in stream.result.timestamps]
                found = [ids[token] for token in stream.result.tokens]
                same += one == (found, frames if method == "greedy_search" else None)
        assert same >= least
