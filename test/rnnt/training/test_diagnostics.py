"""A run that diverges names its cause, and norms of every module can be seen."""

import re

import pytest
import torch

from rnnt.model.encoders.lstm import LSTMLayer
from rnnt.model.joiner import Joiner
from rnnt.train import main
from rnnt.training.update import Updater


def test_norms_of_the_first_updates_are_logged_and_change_nothing(tmp_path, toy_argv, capsys):
    from rnnt.checkpoints.files import load_checkpoint

    main(toy_argv(tmp_path / "plain", num_epochs=1))
    capsys.readouterr()
    main(toy_argv(tmp_path / "watched", num_epochs=1, print_diagnostics="true", inf_check="true"))
    output = capsys.readouterr().out
    assert [int(n) for n in re.findall(r"diagnostics of update (\d+)", output)] == [0, 1, 2, 3, 4]
    (line,) = re.findall(r"network\.encoder\.layers\.0 .*", output)[:1]
    norms = [float(word) for word in line.split()[1:]]
    assert len(norms) == 2 and all(norm > 0 for norm in norms)
    (line,) = re.findall(r"network\.joiner\.output\.weight .*", output)[:1]
    weight, gradient, change = (float(word) for word in line.split()[1:])
    assert weight > 0 and gradient > 0 and 0 < change < weight
    assert "not finite" not in output
    one, two = (load_checkpoint(tmp_path / name / "epoch-1.pt")["model"] for name in ("plain", "watched"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def exploding(monkeypatch):
    """The gradient of the joiner's first projection is infinite in the second update, and every loss is finite."""
    updates = []
    update = Updater.update

    def count(self, *arguments):
        updates.append(None)
        return update(self, *arguments)

    class Explode(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return torch.full_like(grad, torch.inf) if len(updates) == 2 else grad

    def project_encoder(self, h):
        return self.encoder_proj(Explode.apply(h))

    monkeypatch.setattr(Updater, "update", count)
    monkeypatch.setattr(Joiner, "project_encoder", project_encoder)


def test_a_gradient_that_is_not_finite_is_named_and_its_batch_kept(exploding, tmp_path, toy_argv, capsys):
    main(toy_argv(tmp_path, num_epochs=1, inf_check="true"))
    output = capsys.readouterr().out
    assert "the losses of update 1 are finite and its gradient is not" in output
    (names,) = re.findall(r"not finite: the gradients of (.*)", output)
    assert "network.encoder." in names and "network.joiner.output" not in names
    assert "first output: none, first gradient of an output: network.encoder" in output
    (kept,) = (tmp_path / "bad_batches").glob("*.pt")
    batch = torch.load(kept, weights_only=True)
    assert batch["ids"] and batch["x_BTF"].isfinite().all()
    assert all(name in output for name in batch["ids"])
    assert (tmp_path / "epoch-1.pt").exists()


def test_the_first_module_whose_output_is_not_finite_is_named(tmp_path, toy_argv, capsys, monkeypatch):
    def forward(self, x_BTD, len_B):
        return self.lstm(x_BTD)[0] * torch.inf

    monkeypatch.setattr(LSTMLayer, "forward", forward)
    with pytest.raises(SystemExit):
        main(toy_argv(tmp_path, num_epochs=1, inf_check="true", loss="full", max_bad_batches=1))
    captured = capsys.readouterr()
    assert "first output: network.encoder.layers.0, first gradient" in captured.out
    assert "1 updates in a row" in captured.err
