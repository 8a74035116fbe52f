"""Fine-tuning: what is taken from another model, what is made anew, what is refused."""

import json
import shutil

import pytest
import torch

from rnnt.export_model import main as export
from rnnt.train import main
from rnnt.training.checkpoint import load_checkpoint
from rnnt.training.observers import Observer


class First(Observer):
    """Keeps the weights with which a run begins."""

    def run_start(self, trainer):
        self.weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.fixture
def other_tokens(toy, tmp_path):
    """A tokenizer of the toy data with fewer pieces."""
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
    there = load_checkpoint(base / "epoch-1.pt")["model"]
    heads = ("simple_am_proj.", "simple_lm_proj.", "ctc_output.")
    for name, value in first.weights.items():
        if kind == "experiment" or not name.startswith(heads):
            assert torch.equal(value, there[name]), name
    output = capsys.readouterr().out
    assert "the tokens are the same" in output
    assert ("made anew: ctc_output.weight" in output) == (kind == "model directory")


def test_other_tokens_make_only_the_layers_anew_that_know_them(
    tmp_path, toy_argv, train_watched, base, other_tokens, capsys
):
    first = First()
    argv = toy_argv(tmp_path / "exp", num_epochs=1, init_from=base, bpe_model=other_tokens, seed=5)
    train_watched(argv, first)
    there = load_checkpoint(base / "epoch-1.pt")["model"]
    known = ("joiner.output.", "predictor.embedding.", "simple_am_proj.", "simple_lm_proj.", "ctc_output.")
    anew = {name for name, value in first.weights.items() if there[name].shape != value.shape}
    assert anew == {name for name in there if name.startswith(known)}
    assert all(torch.equal(value, there[name]) for name, value in first.weights.items() if name not in anew)
    output = capsys.readouterr().out
    assert all(f"made anew: {name} " in output for name in anew) and output.count("made anew") == len(anew)
    assert "the tokens are others" in output


def test_tokens_of_the_same_number_but_other_meaning_are_made_anew(tmp_path, toy_argv, train_watched, base):
    """Equal shapes are not enough: the tokenizer's file decides."""
    shutil.copytree(base, tmp_path / "moved")
    with open(tmp_path / "moved" / "bpe.model", "ab") as file:
        file.write(b"\x00")
    first = First()
    train_watched(toy_argv(tmp_path / "exp", num_epochs=1, init_from=tmp_path / "moved", seed=5), first)
    there = load_checkpoint(base / "epoch-1.pt")["model"]
    assert not torch.equal(first.weights["joiner.output.weight"], there["joiner.output.weight"])
    assert torch.equal(first.weights["joiner.encoder_proj.weight"], there["joiner.encoder_proj.weight"])


def test_a_continued_run_goes_on_from_its_own_checkpoint(tmp_path, toy_argv, base):
    main(toy_argv(tmp_path / "whole", init_from=base))
    main(toy_argv(tmp_path / "parts", init_from=base, max_updates=3))
    main(toy_argv(tmp_path / "parts", init_from=base))
    one, two = (load_checkpoint(tmp_path / name / "epoch-2.pt")["model"] for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def other_features(folder):
    record = json.loads((folder / "config.json").read_text())
    record["features"]["frame_length_ms"] = 32.0
    (folder / "config.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "options, change, words",
    [
        ({"encoder_dim": 32}, None, "the encoder is another one (encoder_dim is 24 there and 32 here)"),
        ({"encoder_bidirectional": "true"}, None, "encoder_bidirectional is False there and True here"),
        ({"joiner_dim": 20}, None, "the model does not fit: joiner.encoder_proj.weight 20x24 here, 16x24 there"),
        ({}, other_features, "the features differ: frame_length_ms"),
        ({}, lambda folder: (folder / "epoch-1.pt").unlink(), "neither a model directory"),
        ({}, lambda folder: (folder / "bpe.model").unlink(), "no bpe.model in it"),
    ],
)
def test_another_model_is_refused(tmp_path, toy_argv, base, capsys, options, change, words):
    if change:
        change(base)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", init_from=base, **options))
    error = capsys.readouterr().err
    assert stop.value.code == 1 and words in error and error.count("\n") == 1
