"""A new loss with a head of its own, and one over two copies of a batch, are a file and a line in the registry."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.decode import main as decode
from rnnt.export_model import main as export
from rnnt.model.layers import Linear
from rnnt.model.objectives import OBJECTIVES
from rnnt.model.objectives.base import Loss, Objective
from rnnt.model.objectives.config import ObjectiveConfig
from rnnt.options import option
from rnnt.registry import Registry
from rnnt.train import main as train


@dataclass(frozen=True)
class ConsistencyConfig(ObjectiveConfig):
    """Two noisy copies of a batch must say the same."""

    name: ClassVar[str] = "consistency"

    consistency_scale: float = option(0.1, "weight of the disagreement")
    consistency_noise: float = option(0.5, "standard deviation of the noise on the features")


class ConsistencyObjective(Objective):
    """Mean square difference of a head on both copies."""

    def __init__(self, network, config):
        super().__init__(config)
        self.head = Linear(network.encoder.dim, 3)

    def prepare(self, utterances):
        doubled = type(utterances)(*(torch.cat([tensor, tensor]) for tensor in utterances))
        noise_BTF = self.config.consistency_noise * torch.randn_like(doubled.x_BTF)
        return doubled._replace(x_BTF=doubled.x_BTF + noise_BTF)

    def forward(self, batch, step):
        one, two = self.head(batch.h_BTD).chunk(2)
        difference = (one - two).square().mean((1, 2)).sum() * 2  # twice: the sum over both copies
        return Loss(self.config.consistency_scale * difference, {"consistency": difference})


@pytest.fixture
def registered(monkeypatch):
    """The objective in the registry, for one test."""
    monkeypatch.setattr(OBJECTIVES, "_configs", dict(OBJECTIVES._configs))
    monkeypatch.setattr(OBJECTIVES, "_places", dict(OBJECTIVES._places))
    OBJECTIVES.add(ConsistencyConfig, ConsistencyObjective)


def test_a_loss_from_outside_trains_decodes_and_is_left_out_of_what_is_exported(
    registered, tmp_path, toy, toy_argv, capsys
):
    exp = tmp_path / "exp"
    train(toy_argv(exp, num_epochs=1, loss="pruned ctc consistency", consistency_scale=0.2))
    output = capsys.readouterr().out
    assert "loss: pruned (native), ctc, consistency" in output and "consistency 0." in output
    state = load_checkpoint(exp / "epoch-1.pt")
    assert state["objectives"]["consistency.head.weight"].shape == (3, 24)
    assert not [name for name in state["model"] if "head" in name or "simple" in name or "ctc" in name]
    few = ["--decode-sets", "dev", "--threads", "1", "--num-workers", "0"]
    decode(["--exp-dir", str(exp), "--manifest-dir", str(toy), *few])
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "model")])
    assert load_checkpoint(tmp_path / "model" / "weights.pt").keys() == state["model"].keys()

    # Fine-tuning of it without the loss, and the loss beginning on another model: no head is named anywhere.
    train(toy_argv(tmp_path / "without", num_epochs=1, loss="full", init_from=exp))
    train(toy_argv(tmp_path / "with", num_epochs=1, loss="full consistency", init_from=tmp_path / "without"))
    assert "with first weights: objectives.consistency.head.weight" in capsys.readouterr().out


def test_its_options_are_refused_where_it_was_not_chosen(registered, tmp_path, toy_argv, capsys):
    with pytest.raises(SystemExit) as stop:
        train(toy_argv(tmp_path, consistency_scale=0.2))
    assert stop.value.code == 2
    assert "--consistency-scale: this is an option of --loss consistency" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(["--help"])
    assert "--loss consistency: Two noisy copies" in capsys.readouterr().out


def test_copies_of_a_batch_leave_the_other_losses_what_they_are(registered):
    from rnnt.model.config import ModelConfig
    from rnnt.model.objectives.base import TrainingModel, Utterances
    from rnnt.model.transducer import Transducer
    from rnnt.options import make
    from rnnt.training.config import LossConfig

    torch.manual_seed(0)
    sizes = {"encoder_dim": 16, "encoder_layers": 1, "subsampling_channels": 4, "predictor_dim": 8, "joiner_dim": 8}
    network = Transducer(make(ModelConfig, **sizes, dropout=0.0, num_features=9, vocab_size=7)).eval()
    batch = Utterances(
        torch.randn(2, 40, 9), torch.tensor([40, 31]), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    )
    alone = TrainingModel(network, make(LossConfig, loss="full ctc").loss)
    both = TrainingModel(network, make(LossConfig, loss="full ctc consistency", consistency_noise=0.0).loss)
    both.objectives["ctc"].load_state_dict(alone.objectives["ctc"].state_dict())
    expected, found = alone(batch, 0), both(batch, 0)
    assert found.terms.keys() == {"transducer", "ctc", "consistency"} and found.usable_B.tolist() == [True, True]
    for name, term in expected.terms.items():
        torch.testing.assert_close(found.terms[name], term)
    assert found.terms["consistency"] == 0
    torch.testing.assert_close(found.total, expected.total)


def test_a_name_is_given_once():
    registry = Registry("loss")
    registry.add(ConsistencyConfig, ConsistencyObjective)

    @dataclass(frozen=True)
    class Other(ObjectiveConfig):
        """Another."""

        name: ClassVar[str] = "consistency"

    with pytest.raises(ValueError, match="already a loss called 'consistency'"):
        registry.add(Other, ConsistencyObjective)
