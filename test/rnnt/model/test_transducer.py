"""The model: padding invariance, step by step equals all at once, losses and gradients."""

import itertools

import pytest
import torch

from rnnt.model.config import LSTMPredictorConfig, ModelConfig, StatelessConfig
from rnnt.model.encoders.lstm import BiLSTMLayer
from rnnt.model.masking import reverse_valid
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.objectives.config import PrunedConfig
from rnnt.model.predictor import LSTMPredictor, StatelessPredictor
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.training.config import LossConfig


def config(**changes):
    sizes = {"encoder_dim": 16, "encoder_layers": 2, "subsampling_channels": 4, "predictor_dim": 12, "joiner_dim": 10}
    return make(ModelConfig, **{**sizes, "num_features": 9, "vocab_size": 7, "dropout": 0.0, **changes})


def training_model(config, **losses):
    return TrainingModel(Transducer(config), make(LossConfig, **losses).loss)


def data(lengths=(23, 40, 31), texts=((1, 2, 3), (4, 5), ()), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_BTF = torch.randn(len(lengths), max(lengths), 9, generator=generator)
    y = [torch.tensor(t, dtype=torch.int64) for t in texts]
    y_BS = torch.nn.utils.rnn.pad_sequence(y, batch_first=True)
    return Utterances(x_BTF, torch.tensor(lengths), y_BS, torch.tensor([len(t) for t in texts]))


@pytest.mark.parametrize("bidirectional, factor", list(itertools.product([False, True], [2, 4, 8])))
def test_encoder_ignores_padding_and_company(bidirectional, factor):
    torch.manual_seed(0)
    model = Transducer(config(encoder_bidirectional=bidirectional, subsampling_factor=factor)).eval()
    x_BTF, x_len_B, _, _ = data()
    with torch.no_grad():
        h_BTD, h_len_B = model.encode(x_BTF, x_len_B)
        assert h_len_B.tolist() == [-(-n // factor) for n in x_len_B.tolist()]
        assert h_BTD.shape[1] == max(h_len_B)
        for i, n in enumerate(x_len_B):
            alone, _ = model.encode(x_BTF[i : i + 1, :n], x_len_B[i : i + 1])
            torch.testing.assert_close(h_BTD[i, : h_len_B[i]], alone[0], atol=1e-5, rtol=1e-5)
            assert not h_BTD[i, h_len_B[i] :].any()
        wide = torch.nn.functional.pad(x_BTF, (0, 0, 0, 50), value=1e4)
        torch.testing.assert_close(model.encode(wide, x_len_B)[0][:, : h_BTD.shape[1]], h_BTD, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.encoded_lengths(x_len_B), h_len_B)


def test_bidirectional_layer_equals_packed_lstm():
    torch.manual_seed(0)
    layer = BiLSTMLayer(6, 8)
    whole = torch.nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    whole.load_state_dict(
        {**layer.forwards.state_dict(), **{k + "_reverse": v for k, v in layer.backwards.state_dict().items()}}
    )
    x_BTD, len_B = torch.randn(2, 5, 6), torch.tensor([5, 3])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x_BTD, len_B, batch_first=True)
    expected = torch.nn.utils.rnn.pad_packed_sequence(whole(packed)[0], batch_first=True)[0]
    got = layer(x_BTD, len_B)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1, :3], expected[1, :3])


def test_reverse_valid():
    x = torch.arange(8.0).view(2, 4, 1)
    assert reverse_valid(x, torch.tensor([4, 2]))[..., 0].tolist() == [[3, 2, 1, 0], [5, 4, 6, 7]]


@pytest.mark.parametrize(
    "kind, options",
    [
        (StatelessPredictor, StatelessConfig(predictor_dim=12, context_size=1)),
        (StatelessPredictor, StatelessConfig(predictor_dim=12, context_size=3)),
        (LSTMPredictor, LSTMPredictorConfig(predictor_dim=12, predictor_layers=2)),
    ],
)
def test_predictor_steps_equal_forward(kind, options):
    torch.manual_seed(0)
    predictor = kind(options, vocab_size=7, blank_id=6).eval()
    y_BS = torch.tensor([[1, 2, 3, 3], [5, 0, 2, 1]])
    whole_BUD = predictor(y_BS)
    g_BD, state = predictor.step(predictor.start(2), predictor.initial_state(2))
    steps = [g_BD]
    for token_B in y_BS.T:
        # A search picks hypotheses by index: swap them there and back.
        state = tuple(s[[1, 0]] for s in state)
        state = tuple(s[[1, 0]] for s in state)
        g_BD, state = predictor.step(token_B, state)
        steps.append(g_BD)
    torch.testing.assert_close(torch.stack(steps, dim=1), whole_BUD)


@pytest.mark.parametrize("loss, rnnt_type", [("pruned", "regular"), ("pruned", "modified"), ("full", "regular")])
def test_losses_do_not_depend_on_company(loss, rnnt_type):
    """The sum over a batch is the sum of its utterances alone, in evaluation mode."""
    torch.manual_seed(0)
    # lm_scale couples utterances through the unigram only with am_scale; prune range wide enough to be exact.
    wide = {"prune_range": 5, "warm_step": 0, "simple_loss_scale": 0.5} if loss == "pruned" else {}
    model = training_model(config(), loss=f"{loss} ctc", rnnt_type=rnnt_type, ctc_loss_scale=0.3, **wide).eval()
    x_BTF, x_len_B, y_BS, y_len_B = data()
    both = model(data(), 0)
    alone = [
        model(
            Utterances(
                x_BTF[i : i + 1, : x_len_B[i]],
                x_len_B[i : i + 1],
                y_BS[i : i + 1, : y_len_B[i]],
                y_len_B[i : i + 1],
            ),
            0,
        )
        for i in range(3)
    ]
    torch.testing.assert_close(both.total, sum(a.total for a in alone), rtol=1e-4, atol=1e-4)
    for name, term in both.terms.items():
        torch.testing.assert_close(term, sum(a.terms[name] for a in alone), rtol=1e-4, atol=1e-4)
    assert both.usable_B.all()


def test_full_range_pruned_equals_full():
    torch.manual_seed(0)
    pruned = training_model(config(), loss="pruned", prune_range=9).eval()
    full = training_model(config(), loss="full").eval()
    full.network.load_state_dict(pruned.network.state_dict())
    found = [model(data(), 0).terms["transducer"] for model in (pruned, full)]
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("predictor", ["stateless", "lstm"])
def test_every_parameter_gets_a_gradient(predictor, monkeypatch):
    """Whatever the scales of the losses are."""
    monkeypatch.setattr(PrunedConfig, "scales", lambda self, step: (1.0, 0.0))
    torch.manual_seed(0)
    model = training_model(config(predictor=predictor), loss="pruned ctc", ctc_loss_scale=0.2)
    model(data(), 0).total.backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_impossible_utterance_is_flagged_and_harmless():
    torch.manual_seed(0)
    model = training_model(config(), loss="pruned", rnnt_type="modified")
    losses = model(data()._replace(x_len_B=torch.tensor([4, 40, 31])), 0)  # 1 encoder frame for 3 tokens
    assert losses.usable_B.tolist() == [False, True, True]
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_loss_scales_ramp():
    loss = PrunedConfig(simple_loss_scale=0.5, warm_step=100)
    assert loss.scales(0) == (1.0, 0.1) and loss.scales(100) == (0.5, 1.0)
    assert loss.scales(50) == pytest.approx((0.75, 0.55))
