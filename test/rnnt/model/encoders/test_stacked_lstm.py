"""The model of MLPerf Training's RNN-T: each layer's shape, start and arithmetic, and padding without influence."""

import torch
import torch.nn.functional as F

from rnnt.model.config import ModelConfig
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.predictor import TokenEmbedding
from rnnt.model.transducer import Transducer
from rnnt.options import make as make_config
from rnnt.train import main
from rnnt.training.config import LossConfig

EXACT = {
    "encoder": "stacked_lstm", "subsampling_factor": 6, "encoder_dim": 1024, "encoder_layers": 5,
    "layers_before_stacking": 2, "dropout": 0.1, "predictor": "lstm", "predictor_dim": 512, "predictor_layers": 2,
    "predictor_dropout": 0.3, "joiner_dim": 512, "joiner_activation": "relu", "joiner_dropout": 0.3,
    "num_features": 80, "vocab_size": 1024, "blank_id": 1023,
}  # fmt: skip
SMALL = {**EXACT, "encoder_dim": 16, "predictor_dim": 12, "joiner_dim": 10, "num_features": 9, "vocab_size": 7,
         "blank_id": 6}  # fmt: skip


def make(sizes=SMALL, **changes):
    torch.manual_seed(0)
    return Transducer(make_config(ModelConfig, **{**sizes, **changes}))


def test_every_layer_has_the_shape_of_the_reference():
    with torch.device("meta"):
        model = make(EXACT)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}

    def lstm(name, inputs, hidden):
        for i, width in enumerate(inputs):
            assert shapes.pop(f"{name}.weight_ih_l{i}") == (4 * hidden, width)
            assert shapes.pop(f"{name}.weight_hh_l{i}") == (4 * hidden, hidden)
            assert shapes.pop(f"{name}.bias_ih_l{i}") == shapes.pop(f"{name}.bias_hh_l{i}") == (4 * hidden,)

    lstm("encoder.pre_rnn", [240, 1024], 1024)
    lstm("encoder.post_rnn", [2048, 1024, 1024], 1024)
    lstm("predictor.lstm", [512, 512], 512)
    assert shapes == {
        "predictor.embedding.weight": (1023, 512),
        "joiner.encoder_proj.weight": (512, 1024),
        "joiner.encoder_proj.bias": (512,),
        "joiner.predictor_proj.weight": (512, 512),
        "joiner.predictor_proj.bias": (512,),
        "joiner.output.weight": (1024, 512),
        "joiner.output.bias": (1024,),
    }
    assert sum(p.numel() for p in model.parameters()) == 49_006_080
    dropouts = [model.encoder.dropout.p, model.encoder.pre_rnn.dropout, model.encoder.post_rnn.dropout]
    assert dropouts == [0.1] * 3
    assert [model.predictor.dropout.p, model.predictor.lstm.dropout, model.joiner.dropout] == [0.3] * 3


def test_the_start_is_torchs_with_forget_gates_at_one_then_scaled():
    model = make(lstm_init_scale=0.45)
    stacks = [model.encoder.pre_rnn, model.encoder.post_rnn, model.predictor.lstm]
    for lstm in stacks:
        bound = 0.45 * lstm.hidden_size**-0.5
        for name, p in lstm.named_parameters():
            i, forget, c, o = p.chunk(4)
            if "bias" in name:
                assert (forget == (0.45 if "bias_ih" in name else 0.0)).all()
                p = torch.cat([i, c, o])
            assert 0.6 * bound < p.abs().max() <= bound
            assert p.abs().min() < 0.3 * bound
    # Linear layers and embeddings are not scaled.
    assert model.joiner.encoder_proj.weight.abs().max() > 0.9 * 16**-0.5
    assert 0.7 < model.predictor.embedding.weight.std() < 1.3


def test_output_is_that_of_the_definition():
    """Frames joined by 3, two layers, frames joined by 2, three layers, for an utterance whose lengths don't divide."""
    model = make().eval()
    x_TF = torch.randn(1, 14, 9)
    h_TD, len_B = model.encode(x_TF, torch.tensor([14]))
    stacked_TF = F.pad(x_TF, (0, 0, 0, 1)).view(1, 5, 27)
    middle_TD = F.pad(model.encoder.pre_rnn(stacked_TF)[0], (0, 0, 0, 1)).view(1, 3, 32)
    torch.testing.assert_close(h_TD, model.encoder.post_rnn(middle_TD)[0])
    assert len_B.tolist() == model.encoded_lengths(torch.tensor([14])).tolist() == [3]


def test_padding_and_company_have_no_influence():
    model = make().eval()
    lengths = torch.tensor([23, 40, 13, 36])  # 4, 7, 3 and 6 frames; 23 and 13 leave gaps in both places of joining
    x_BTF = torch.randn(4, 40, 9)
    with torch.no_grad():
        h_BTD, h_len_B = model.encode(F.pad(x_BTF, (0, 0, 0, 29), value=1e4), lengths)
        assert h_len_B.tolist() == [4, 7, 3, 6]
        for i, n in enumerate(lengths):
            alone_BTD, _ = model.encode(x_BTF[i : i + 1, :n], lengths[i : i + 1])
            torch.testing.assert_close(h_BTD[i, : h_len_B[i]], alone_BTD[0])
            assert not h_BTD[i, h_len_B[i] :].any()


def test_token_embedding_has_no_row_for_blank():
    for blank_id in (0, 2, 6):
        embedding = TokenEmbedding(7, 4, blank_id)
        assert embedding.weight.shape == (6, 4)
        out = embedding(torch.arange(7))
        assert not out[blank_id].any()
        torch.testing.assert_close(out[torch.arange(7) != blank_id], embedding.weight)
        out.sum().backward()
        assert (embedding.weight.grad == 1).all()


def test_predictor_starts_from_the_zero_vector():
    predictor = make().predictor.eval()
    y_BS = torch.tensor([[2, 5]])
    g_BUD = predictor(y_BS)
    inputs = torch.cat([torch.zeros(1, 1, 12), predictor.embedding.weight[y_BS]], dim=1)
    torch.testing.assert_close(g_BUD, predictor.lstm(inputs)[0])


def test_dropout_of_the_joiner_is_drawn_in_training_only():
    for loss in ("full", "pruned"):
        torch.manual_seed(0)
        network = make(dropout=0.0, predictor_dropout=0.0, joiner_dropout=0.5)
        model = TrainingModel(network, make_config(LossConfig, loss=loss).loss)
        batch = Utterances(
            torch.randn(2, 30, 9), torch.tensor([30, 24]), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
        )
        trained = [model(batch, 0).terms["transducer"].item() for _ in range(2)]
        model.eval()
        tested = [model(batch, 0).terms["transducer"].item() for _ in range(2)]
        assert trained[0] != trained[1] and tested[0] == tested[1]


def test_print_model_needs_neither_data_nor_tokenizer(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exact.yaml").write_text(
        "".join(f"{name}: {value}\n" for name, value in EXACT.items()) + "loss: full\n"
    )
    main(["--config", "exact.yaml", "--print-model"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["parameters", "49,006,080"]
    assert any(line.split() == ["predictor.embedding.weight", "(1023,", "512)", "523,776"] for line in lines)
    assert list(tmp_path.iterdir()) == [tmp_path / "exact.yaml"]
