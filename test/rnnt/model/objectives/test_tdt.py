"""The objective `tdt`: what is computed in training, and what in evaluation."""

import pytest
import torch

from rnnt.loss import full_joiner_loss, tdt_joiner_loss
from rnnt.model.config import ModelConfig
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.objectives.config import TDTConfig
from rnnt.model.transducer import Transducer
from rnnt.options import make


@pytest.fixture
def make_tdt_model():
    def make_it(**options):
        torch.manual_seed(1)
        sizes = {"encoder_dim": 8, "encoder_layers": 1, "subsampling_channels": 2, "predictor_dim": 8, "joiner_dim": 8}
        network = Transducer(make(ModelConfig, **sizes, dropout=0.0, num_features=8, vocab_size=7))
        return TrainingModel(network, [TDTConfig(**options)])

    return make_it


@pytest.fixture
def utterances():
    torch.manual_seed(2)
    return Utterances(torch.randn(2, 40, 8), torch.tensor([40, 30]), torch.randint(1, 7, (2, 4)), torch.tensor([4, 2]))


def expected(model, utterances, durations, sigma):
    """The loss by the functions of rnnt.loss; without durations the full sum."""
    network, objective = model.network, model.objectives["tdt"]
    joiner = network.joiner
    h_BTD, h_len_B = network.encode(utterances.x_BTF, utterances.x_len_B)
    y_BS = utterances.y_BS.clone()
    y_BS[1, 2:] = network.blank_id
    projected = joiner.project_encoder(h_BTD), joiner.project_predictor(network.predictor(y_BS))
    layers = [*projected, joiner.output.weight, joiner.output.bias]
    if durations is None:
        return full_joiner_loss(*layers, y_BS, h_len_B, utterances.y_len_B, blank_id=0)[0].sum()
    layers += [objective.duration_output.weight, objective.duration_output.bias]
    options = {"durations": durations, "sigma": sigma, "blank_id": 0}
    return tdt_joiner_loss(*layers, y_BS, h_len_B, utterances.y_len_B, **options)[0].sum()


def test_sigma_is_for_training_alone(make_tdt_model, utterances):
    model = make_tdt_model(durations=[0, 1, 3], sigma=0.05, omega=0.0)
    for training, sigma in ((True, 0.05), (False, 0.0)):
        loss = model.train(training)(utterances, 0)
        assert loss.total.item() == pytest.approx(expected(model, utterances, (0, 1, 3), sigma).item(), rel=1e-6)
        assert loss.terms.keys() == {"transducer"} and loss.usable_B.tolist() == [True, True]


def test_omega_leaves_the_durations_out_of_some_batches(make_tdt_model, utterances):
    model = make_tdt_model(omega=1.0).train()
    loss = model(utterances, 0).total
    assert loss.item() == pytest.approx(expected(model, utterances, None, 0.0).item(), rel=1e-6)
    loss.backward()
    assert model.objectives["tdt"].duration_output.weight.grad is None
    assert model.network.joiner.output.weight.grad.any()
    always = model.eval()(utterances, 0).total.item()
    assert always == pytest.approx(expected(model, utterances, (0, 1, 2, 3, 4), 0.0).item(), rel=1e-6)
    some = make_tdt_model(omega=0.3).train()
    torch.manual_seed(0)
    drawn = {round(some(utterances, 0).total.item(), 3) for _ in range(30)}
    assert len(drawn) == 2
