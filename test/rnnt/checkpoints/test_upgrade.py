"""What the version before wrote is read: checkpoints, config.json and model directories of format 1."""

import json

import pytest
import torch

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint
from rnnt.checkpoints.upgrade import HEADS
from rnnt.decode import main as decode
from rnnt.export_model import main as export
from rnnt.train import main as train
from rnnt.transcription.recognizer import load_recognizer


def flat(model):
    """The model's options as format 1 had them: all options of all kinds in one list."""
    values = {"encoder_hidden_dim": 1024, "attention_heads": 8, "conv_kernel": 31, "layers_before_stacking": 2,
              "feedforward_dim": 2048, "predictor_layers": 1, "lstm_init_scale": 1.0}  # fmt: skip
    for part in ("encoder", "predictor", "joiner"):
        values.update(model[part])
    del values["name"]
    kinds = {part: model[part]["name"] for part in ("encoder", "predictor")}
    return {**values, **kinds, **{name: model[name] for name in ("num_features", "vocab_size", "blank_id")}}


def joined(state):
    """Weights of format 1: heads beside the network, by their names of then."""
    found = dict(state["model"])
    for name, value in state["objectives"].items():
        old, new = next((old, new) for old, new in HEADS.items() if name.startswith(new))
        found[old + name[len(new) :]] = value
    return found


def downgrade(exp_dir):
    """Write the checkpoints and config.json of an experiment as format 1 had them."""
    for path in exp_dir.glob("*.pt"):
        state = torch.load(path, weights_only=True)
        fingerprint = state.pop("fingerprint")
        del state["format"]
        heads = {"pruned": "simple_am_proj", "ctc": "ctc_output"}
        config = {**fingerprint["config"], "model": flat(fingerprint["config"]["model"])}
        state["identity"] = {
            "config": config, "loss": [heads[name] for name in fingerprint["losses"] if name in heads],
            "tokenizer": fingerprint["tokenizer"], "plan": fingerprint["plan"],
        }  # fmt: skip
        state["model"] = joined(state)
        if "ema" in state:
            state["ema"] = joined(state["ema"])
        del state["objectives"]
        torch.save(state, path)
    config = json.loads((exp_dir / "config.json").read_text())
    config["model"] = flat(config["model"])
    del config["format"]
    (exp_dir / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("loss", ["pruned ctc", "full"])
def test_a_training_of_format_1_continues_bit_for_bit(tmp_path, toy_argv, loss):
    options = {"loss": loss, "ema_decay": 0.8, "save_every_n": 3, "keep_last_k": 99}
    train(toy_argv(tmp_path / "new", **options))
    train(toy_argv(tmp_path / "old", max_updates=3, **options))
    downgrade(tmp_path / "old")
    train(toy_argv(tmp_path / "old", **options))
    one, two = (load_checkpoint(tmp_path / name / "epoch-2.pt") for name in ("new", "old"))
    for part in ("model", "objectives"):
        assert one[part].keys() == two[part].keys()
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])
        assert all(torch.equal(one["ema"][part][name], two["ema"][part][name]) for name in one["ema"][part])


def test_a_model_of_format_1_decodes_and_transcribes(tmp_path, toy, toy_argv):
    exp = tmp_path / "exp"
    train(toy_argv(exp, num_epochs=2))
    before = load_for_decoding(exp, Selection(avg=2)).network.state_dict()
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "model"), "--avg", "2"])
    for path in exp.glob("averaged-*.pt"):
        path.unlink()
    downgrade(exp)
    after = load_for_decoding(exp, Selection(avg=2)).network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    few = ["--decode-sets", "dev", "--threads", "1", "--num-workers", "0"]
    decode(["--exp-dir", str(exp), "--manifest-dir", str(toy), *few])

    where = tmp_path / "model" / "config.json"
    config = json.loads(where.read_text())
    where.write_text(json.dumps({**config, "format": 1, "model": flat(config["model"])}))
    loaded = load_recognizer(tmp_path / "model", "cpu").model.state_dict()
    assert all(torch.equal(loaded[name], before[name]) for name in before)


def test_a_model_directory_of_a_later_format_is_refused(tmp_path, toy_argv):
    from rnnt.errors import UserError

    train(toy_argv(tmp_path / "exp", num_epochs=1))
    export(["--exp-dir", str(tmp_path / "exp"), "--out", str(tmp_path / "model")])
    where = tmp_path / "model" / "config.json"
    where.write_text(json.dumps({**json.loads(where.read_text()), "format": 3}))
    with pytest.raises(UserError, match="config.json: format 3, expected 1 or 2; export the model again"):
        load_recognizer(tmp_path / "model", "cpu")
