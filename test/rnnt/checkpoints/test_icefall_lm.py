"""icefall's RNN-LM: the same probabilities of texts, and one line for what is none."""

import pytest
import torch
from torch import nn

from rnnt.checkpoints.language_model import load_language_model
from rnnt.icefall_import import main

V, D = 9, 6


class TheirModel(nn.Module):
    """The recipe's network."""

    def __init__(self, tied, hidden=D):
        super().__init__()
        torch.manual_seed(0)
        self.input_embedding = nn.Embedding(V, D)
        self.rnn = nn.LSTM(D, hidden, 2, batch_first=True)
        self.output_linear = nn.Linear(hidden, V)
        if tied:
            self.output_linear.weight = self.input_embedding.weight

    def nll(self, text):
        """Of a text between two <sos/eos>, which is 1."""
        x_1U, target_U = torch.tensor([[1, *text]]), torch.tensor([*text, 1])
        logits_UV = self.output_linear(self.rnn(self.input_embedding(x_1U))[0])[0]
        return float(nn.functional.cross_entropy(logits_UV, target_U, reduction="sum").detach())


def write_tokens(path, number=V):
    names = ["<blk>", "<sos/eos>", "<unk>", *(f"\u2581w{i}" for i in range(number - 3))]
    path.write_text("".join(f"{name} {i}\n" for i, name in enumerate(names)), encoding="utf-8")


@pytest.mark.parametrize("tied", [True, False])
def test_texts_have_the_same_probability(tmp_path, capsys, tied):
    theirs = TheirModel(tied)
    torch.save({"model": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "epoch-99.pt")
    write_tokens(tmp_path / "tokens.txt")
    main([str(tmp_path / "epoch-99.pt"), "--tokens", str(tmp_path), "--out", str(tmp_path / "lm")])
    assert "a language model of" in capsys.readouterr().out
    ours = load_language_model(tmp_path / "lm")
    assert ours.name == "icefall-epoch-99" and ours.config.model.tie_weights is tied
    for text in ([], [3], [4, 8, 2, 2, 5]):
        scores_1U = ours.network.token_scores(torch.tensor([text], dtype=torch.int64), torch.tensor([len(text)]))
        assert -float(scores_1U.sum().detach()) == pytest.approx(theirs.nll(text), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "tokens", "options", "message"),
    [
        (lambda w: w, V + 1, [], "over 9 tokens, <sos/eos> among them"),
        (lambda w: {**w, "extra": torch.ones(1)}, V, [], "unknown tensor: extra"),
        (lambda w: {k: v for k, v in w.items() if k != "rnn.bias_hh_l1"}, V, [], "lacks: lstm.bias_hh_l1"),
        (lambda w: TheirModel(False, hidden=4).state_dict(), V, [], "of another width than the embedding's 6"),
        (lambda w: w, V, ["--num-heads", "4"], "a language model, which has no --num-heads"),
    ],
)
def test_what_is_none_is_one_line(tmp_path, capsys, change, tokens, options, message):
    torch.save({"model": change(dict(TheirModel(False).state_dict()))}, tmp_path / "x.pt")
    write_tokens(tmp_path / "tokens.txt", tokens)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "x.pt"), "--tokens", str(tmp_path), "--out", str(tmp_path / "lm"), *options])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "lm").exists()
