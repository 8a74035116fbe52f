"""Model directories for a model hub: the same model, from one file of tensors, with a card."""

import json
import re

import numpy as np
import pytest

import rnnt
from rnnt.checkpoints.averaging import TrainedModel
from rnnt.checkpoints.init_from import _read
from rnnt.checkpoints.model_dir import head_weights, read_model_dir, write_model_dir
from rnnt.errors import UserError
from rnnt.export_model import main

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture
def experiment(toy, tmp_path, save_untrained, random_model):
    """An experiment with a decoded set, and what training knew of its data."""
    model = random_model(toy / "bpe.model", encoder="conformer", attention_heads=2)
    exp, cuts = tmp_path / "exp", tmp_path / "cuts"
    exp.mkdir()
    cuts.mkdir()
    (exp / "bpe.model").write_bytes((toy / "bpe.model").read_bytes())
    (exp / "config.json").write_text(json.dumps({"train": {"train_set": "train-small", "manifest_dir": str(cuts)}}))
    (cuts / "statistics.json").write_text(json.dumps({"train-small": {"hours": 12.34, "utterances": 15000}}))
    for name, checkpoint, wer in (("greedy_search", "epoch-1-avg-1", 1.937), ("beam_search", "epoch-9-avg-1", 77.7)):
        folder = exp / f"decode_{name}" / "test"
        folder.mkdir(parents=True)
        summary = {"wer": wer, "wer_low": 0.99, "wer_high": 2.931, "words": 1493, "checkpoint": checkpoint}
        (folder / "summary.json").write_text(json.dumps(summary))
    save_untrained(exp / "epoch-1.pt", model.network.config, model.features, toy / "bpe.model")
    return exp


def test_the_program(experiment, tmp_path):
    main(["--exp-dir", str(experiment), "--out", str(tmp_path / "plain")])
    main(["--exp-dir", str(experiment), "--out", str(tmp_path / "hub"), "--format", "hub"])
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md", "bpe.model", "config.json", "model.safetensors"
    ]  # fmt: skip
    plain, hub = (read_model_dir(tmp_path / name).network.state_dict() for name in ("plain", "hub"))
    assert plain.keys() == hub.keys() and all(bool((plain[name] == hub[name]).all()) for name in plain)
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: rnnt\n") and "`train-small`: 12.3 hours in 15,000 utterances." in card
    assert "| test | greedy_search | 1.94 | 0.99-2.93 | 1493 |" in card and "77.7" not in card
    assert re.search(r"[\d,]+ parameters, 14 tokens, 24 mel filters at 8000 Hz, a frame every 40 ms", card)
    audio = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    texts = [rnnt.load_model(tmp_path / name, "cpu").transcribe(audio, 8000).text for name in ("plain", "hub")]
    assert texts[0] == texts[1]


def test_heads_and_the_beginning_of_fine_tuning(toy, tmp_path, random_model):
    model = random_model(toy / "bpe.model", ["ctc"])
    write_model_dir(tmp_path / "plain", model, {})
    write_model_dir(tmp_path / "hub", model, {}, tmp_path)
    for name in ("plain", "hub"):
        assert set(head_weights(tmp_path / name)) == {"ctc.output.weight", "ctc.output.bias"}
        assert list(read_model_dir(tmp_path / name).network.heads) == ["ctc"]
    plain, hub = (_read(tmp_path / name)[3] for name in ("plain", "hub"))
    assert plain.keys() == hub.keys() and "objectives.ctc.output.bias" in hub
    assert "Not recorded." in (tmp_path / "hub" / "README.md").read_text()


def test_a_broken_file_of_tensors_is_named(toy, tmp_path, random_model):
    model: TrainedModel = random_model(toy / "bpe.model")
    write_model_dir(tmp_path / "hub", model, {}, tmp_path)
    path = tmp_path / "hub" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="model.safetensors: not the file that"):
        read_model_dir(tmp_path / "hub")
    description = json.loads((tmp_path / "hub" / "config.json").read_text())
    del description["sha256"]
    (tmp_path / "hub" / "config.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="model.safetensors: not a file of tensors"):
        read_model_dir(tmp_path / "hub")
