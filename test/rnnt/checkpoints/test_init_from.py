"""Fine-tuning: what is taken from another model, what is new, what is refused."""

import shutil
from dataclasses import dataclass

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint, save_checkpoint
from rnnt.export_model import main as export
from rnnt.model.encoders import ENCODERS
from rnnt.model.encoders.config import LSTMConfig
from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.options import make, option
from rnnt.train import main
from rnnt.training.observers import Observer


class First(Observer):
    """Keeps the weights with which a run begins."""

    def run_start(self, trainer):
        self.weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}


def stored(exp_dir):
    """The weights of the first epoch, by the names that a `TrainingModel` gives them."""
    state = load_checkpoint(exp_dir / "epoch-1.pt")
    parts = {"network": state["model"], "objectives": state["objectives"]}
    return {f"{part}.{name}": value for part, weights in parts.items() for name, value in weights.items()}


@pytest.fixture
def other_tokens(toy, tmp_path):
    """A tokenizer of the toy data with fewer tokens."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=str(toy / "text"), model_prefix=str(tmp_path / "other"), vocab_size=12, model_type="unigram",
        user_defined_symbols=["<blk>", "<sos/eos>"], unk_id=2, bos_id=-1, eos_id=-1, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    return tmp_path / "other.model"


@pytest.fixture
def base(tmp_path, toy_argv):
    """The experiment whose model is taken."""
    main(toy_argv(tmp_path / "base", num_epochs=1))
    return tmp_path / "base"


@pytest.mark.parametrize("kind", ["experiment", "model directory"])
def test_same_tokens_take_everything(tmp_path, toy_argv, train_watched, base, kind, capsys):
    source = base
    if kind == "model directory":
        source = tmp_path / "model"
        export(["--exp-dir", str(base), "--out", str(source)])
    first = First()
    train_watched(toy_argv(tmp_path / "exp", num_epochs=1, init_from=source, seed=5), first)
    there = stored(base)
    for name, value in first.weights.items():
        assert torch.equal(value, there[name]), name
    output = capsys.readouterr().out
    assert "the tokens are the same" in output
    assert "with first weights" not in output  # the layers of the losses are there too


def test_other_tokens_make_only_the_layers_new_that_know_them(
    tmp_path, toy_argv, train_watched, base, other_tokens, capsys
):
    first = First()
    argv = toy_argv(tmp_path / "exp", num_epochs=1, init_from=base, bpe_model=other_tokens, seed=5)
    train_watched(argv, first)
    there = stored(base)
    known = ("network.joiner.output.", "network.predictor.embedding.", "objectives.")
    new = {name for name, value in first.weights.items() if there[name].shape != value.shape}
    assert new == {name for name in there if name.startswith(known)}
    assert all(torch.equal(value, there[name]) for name, value in first.weights.items() if name not in new)
    output = capsys.readouterr().out
    assert all(f"with first weights: {name} " in output for name in new)
    assert output.count("with first weights") == len(new)
    assert "the tokens are different" in output


def test_tokens_of_the_same_number_but_other_meaning_get_new_layers(tmp_path, toy_argv, train_watched, base):
    """Equal shapes are not enough: the fingerprint of the tokenizer decides."""
    shutil.copytree(base, tmp_path / "moved")
    state = load_checkpoint(base / "epoch-1.pt")
    state["fingerprint"]["tokenizer"] = "another"
    save_checkpoint(tmp_path / "moved" / "epoch-1.pt", state)
    first = First()
    train_watched(toy_argv(tmp_path / "exp", num_epochs=1, init_from=tmp_path / "moved", seed=5), first)
    there = stored(base)
    key = "network.joiner.output.weight"
    assert not torch.equal(first.weights[key], there[key])
    key = "network.joiner.encoder_proj.weight"
    assert torch.equal(first.weights[key], there[key])


def test_a_stopped_run_continues_from_its_own_checkpoint(tmp_path, toy_argv, base):
    main(toy_argv(tmp_path / "whole", init_from=base))
    main(toy_argv(tmp_path / "parts", init_from=base, max_updates=3))
    main(toy_argv(tmp_path / "parts", init_from=base))
    one, two = (load_checkpoint(tmp_path / name / "epoch-2.pt")["model"] for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def other_features(folder):
    state = load_checkpoint(folder / "epoch-1.pt")
    state["fingerprint"]["config"]["features"]["frame_length_ms"] = 32.0
    save_checkpoint(folder / "epoch-1.pt", state)


@pytest.mark.parametrize(
    "options, change, words",
    [
        ({"encoder_dim": 32}, None, "the encoder differs (encoder_dim is 24 there and 32 here)"),
        ({"encoder_bidirectional": "true"}, None, "encoder_bidirectional is False there and True here"),
        (
            {"joiner_dim": 20},
            None,
            "the model does not fit: network.joiner.encoder_proj.weight 20x24 here, 16x24 there",
        ),
        ({}, other_features, "the features differ: frame_length_ms"),
        ({}, lambda folder: (folder / "epoch-1.pt").unlink(), "neither a model directory"),
    ],
)
def test_another_model_is_refused(tmp_path, toy_argv, base, capsys, options, change, words):
    if change:
        change(base)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", init_from=base, **options))
    error = capsys.readouterr().err
    assert stop.value.code == 1 and words in error and error.count("\n") == 1


def test_a_checkpoint_file_is_refused_with_the_remedy(tmp_path, toy_argv, base, capsys):
    with pytest.raises(SystemExit):
        main(toy_argv(tmp_path / "exp", init_from=base / "epoch-1.pt"))
    error = capsys.readouterr().err
    assert "epoch-1.pt is a file; give the folder of the experiment" in error and error.count("\n") == 1


def test_one_number_for_all_stacks_is_that_number_for_each():
    """An imported checkpoint has a list; the configuration beside it may have one number."""
    sizes = {"downsampling_factor": [1, 2], "encoder_dim": [32, 48], "encoder_unmasked_dim": [32]}
    sizes |= {name: [2] for name in ("num_encoder_layers", "feedforward_dim", "num_heads")} | {"cnn_module_kernel": [7]}
    one, each, other = (make(ZipformerConfig, **sizes, query_head_dim=dims) for dims in ([16], [16, 16], [16, 24]))
    assert one.comparable() == each.comparable() != other.comparable()


@dataclass(frozen=True)
class MyConfig(LSTMConfig):
    """An encoder from outside with an option that is free to change and one that is not."""

    name = "mine"
    free_options = (*LSTMConfig.free_options, "my_noise")

    my_noise: float = option(0.0, "noise in training")
    my_shape: int = option(1, "what the weights were trained for")


def test_an_encoder_says_which_of_its_options_are_free(tmp_path, toy_argv, capsys, monkeypatch):
    for table in ("_configs", "_places"):  # what is added is gone after the test
        monkeypatch.setattr(ENCODERS, table, dict(getattr(ENCODERS, table)))
    ENCODERS.add(MyConfig, "rnnt.model.encoders.lstm:LSTMEncoder")
    base, mine = tmp_path / "base", {"encoder": "mine", "num_epochs": 1}
    main(toy_argv(base, **mine))
    main(toy_argv(tmp_path / "free", **mine, init_from=base, my_noise=0.5, dropout=0.2))
    assert "the tokens are the same" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(toy_argv(tmp_path / "exp", **mine, init_from=base, my_noise=0.5, my_shape=2))
    assert "(my_shape is 1 there and 2 here)" in capsys.readouterr().err
