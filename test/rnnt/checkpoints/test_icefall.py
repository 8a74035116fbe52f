"""icefall's Zipformer checkpoints: the same numbers, whatever form they come in, and one line for what they are not."""

import dataclasses
import json
import os
import pathlib
import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import rnnt
from rnnt import export_model, train
from rnnt.checkpoints.averaging import TrainedModel
from rnnt.checkpoints.icefall.convert import imported_model, their_name, write_icefall
from rnnt.checkpoints.icefall.reading import averaged_between, read_icefall
from rnnt.errors import UserError
from rnnt.icefall_import import main
from rnnt.model.objectives.base import EncodedBatch, Utterances
from rnnt.model.transducer import Transducer

DATA = Path(__file__).parents[2] / "data" / "zipformer.npz"


@pytest.fixture(scope="module")
def vectors():
    with np.load(DATA) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return {name: json.loads(str(a)) if a.dtype.kind == "U" else torch.from_numpy(a) for name, a in found.items()}


def by_formula(names):
    """The weights with which the numbers were made. names: name -> shape, in order."""
    weights = {}
    for n, (name, shape) in enumerate(names.items()):
        size = int(np.prod(shape))
        w = np.sin(0.7 * n + 0.37 * np.arange(size) + 1.01)
        if name.endswith("bypass_scale"):
            w = 0.5 + 0.2 * w
        elif name.endswith("log_scale"):
            w = 0.3 * w
        else:
            w = 0.8 * w / np.sqrt(size / shape[0]) if len(shape) > 1 else 0.1 * w
        weights[name] = torch.from_numpy(w.reshape(shape).astype(np.float32))
    return weights


@pytest.fixture(scope="module")
def offline(vectors):
    return by_formula(vectors["offline/names"])


@pytest.mark.parametrize("mode", ["offline", "causal"])
def test_losses_and_encoder_output_are_those_of_icefall(vectors, mode):
    causal = {"chunk_size": [8], "left_context_frames": [32]} if mode == "causal" else {}
    network = rnnt.import_icefall(by_formula(vectors[f"{mode}/names"]), **causal)
    assert network.config.encoder.causal == (mode == "causal")
    y_BS = torch.nn.utils.rnn.pad_sequence([torch.tensor(y) for y in vectors["targets"]], batch_first=True)
    y_len_B = torch.tensor([len(y) for y in vectors["targets"]])
    with torch.no_grad():
        batch = EncodedBatch(network, Utterances(vectors["offline/x"], vectors["offline/x_len"], y_BS, y_len_B))
        torch.testing.assert_close(batch.h_BTD, vectors[f"{mode}/h"], atol=1e-5, rtol=1e-5)
        assert batch.h_len_B.tolist() == vectors[f"{mode}/h_len"].tolist()
        terms = {**network.heads["pruned"](batch, 0).terms, **network.heads["ctc"](batch, 0).terms}
    wanted = [vectors[f"{mode}/{name}_loss"].item() for name in ("simple", "ctc")]
    assert [terms["simple"].sum().item(), terms["ctc"].sum().item()] == pytest.approx(wanted, rel=1e-5)


def test_sizes_are_read_from_the_shapes(vectors, offline):
    config, encoder = vectors["config"], rnnt.import_icefall(offline).config.encoder
    for name in ("num_encoder_layers", "encoder_dim", "downsampling_factor", "feedforward_dim", "cnn_module_kernel",
                 "num_heads"):  # fmt: skip
        assert getattr(encoder, name) == [int(v) for v in config[name]]


class Opaque:
    """Of a class that only the writer of the file has."""

    def __init__(self, value):
        self.value = value


def write_epoch(path, weights, averaged=None, updates=3000, **options):
    """A checkpoint as icefall's trainer writes it, of classes that are not here."""
    module = types.ModuleType("icefall.utils")

    class AttributeDict(dict):
        pass

    AttributeDict.__module__, AttributeDict.__qualname__ = "icefall.utils", "AttributeDict"
    module.AttributeDict = AttributeDict
    sys.modules["icefall"], sys.modules["icefall.utils"] = types.ModuleType("icefall"), module
    try:
        content = {
            "model": {f"module.{name}": value for name, value in weights.items()},
            **({"model_avg": averaged} if averaged else {}),
            "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1}]},
            "sampler": AttributeDict(seed=1),
            "exp_dir": pathlib.PosixPath("zipformer/exp"),
            "env_info": AttributeDict(hostname="here"),
            "opaque": Opaque(5),
            "batch_idx_train": updates,
            "average_period": 200,
            "encoder_unmasked_dim": "16,24,20",
            **options,
        }
        torch.save(content, path)
    finally:
        del sys.modules["icefall"], sys.modules["icefall.utils"]


def test_an_epoch_is_read_with_its_options_and_averages(tmp_path, offline):
    first, second = ({name: value + shift for name, value in offline.items()} for shift in (0.5, 2.0))
    write_epoch(tmp_path / "epoch-1.pt", offline, first, updates=1100)
    write_epoch(tmp_path / "epoch-2.pt", offline, second, updates=3050)
    network = rnnt.import_icefall(tmp_path / "epoch-2.pt")
    assert network.config.encoder.encoder_unmasked_dim == [16, 24, 20]
    assert torch.equal(network.predictor.embedding.weight, offline["decoder.embedding.weight"])
    averaged = rnnt.import_icefall(tmp_path / "epoch-2.pt", use_averaged_model=True)
    assert torch.equal(averaged.predictor.embedding.weight, second["decoder.embedding.weight"])
    between = rnnt.import_icefall(tmp_path / "epoch-2.pt", average_from=tmp_path / "epoch-1.pt")
    # 1000 and 3000 updates: 1.5 times the later mean less half of the earlier one.
    wanted = 1.5 * second["decoder.embedding.weight"] - 0.5 * first["decoder.embedding.weight"]
    torch.testing.assert_close(between.predictor.embedding.weight, wanted)
    with pytest.raises(UserError, match="epoch-2.pt is not from before .*epoch-1.pt: 3000 and 1000 updates"):
        averaged_between(*(read_icefall(tmp_path / f"epoch-{n}.pt") for n in (1, 2)))


def test_nothing_in_a_file_is_executed(tmp_path, offline):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"model": offline, "trap": Trap()}, tmp_path / "pretrained.pt")
    with open(tmp_path / "plain.pt", "wb") as file:
        pickle.dump(Trap(), file)
    rnnt.import_icefall(tmp_path / "pretrained.pt")
    with pytest.raises(UserError):
        rnnt.import_icefall(tmp_path / "plain.pt")
    assert not (tmp_path / "executed").exists()


def write_tokens(path, number):
    path.write_text("".join(f"{t} {i}\n" for i, t in enumerate(
        ["<blk>", "<sos/eos>", "<unk>", *(f"\u2581w{i}" for i in range(number - 3))])), encoding="utf-8")  # fmt: skip


def test_a_model_directory_recognises(tmp_path, offline, capsys):
    torch.save({"model": offline}, tmp_path / "pretrained.pt")
    write_tokens(tmp_path / "tokens.txt", 20)
    main([str(tmp_path / "pretrained.pt"), "--tokens", str(tmp_path), "--out", str(tmp_path / "model")])
    assert "heads: pruned, ctc" in capsys.readouterr().out
    recognizer = rnnt.load_model(tmp_path / "model", device="cpu")
    assert recognizer.transcribe(np.zeros(16000, np.float32), 16000).text is not None
    from rnnt.checkpoints.model_dir import read_model_dir

    network = read_model_dir(tmp_path / "model").network
    for name, value in network.state_dict().items():
        theirs = their_name(name)
        assert theirs is None or torch.equal(value, offline[theirs]), name
    write_tokens(tmp_path / "tokens.txt", 21)
    with pytest.raises(UserError, match="tokens.txt: 21 tokens with blank 0, the model has 20"):
        rnnt.import_icefall(tmp_path / "pretrained.pt", tmp_path / "tokens.txt", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def changed(weights, **changes):
    """The weights with some of them removed (None), added or of other sizes."""
    found = {name: value for name, value in weights.items() if changes.get(name, 0) is not None}
    return {**found, **{name: value for name, value in changes.items() if value is not None}}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"decoder.embedding.weight": None, "ctc_output.1.weight": None}, "there is no tensor ctc_output.1.weight"),
        ({"joiner.output_linear.bias": None}, "lacks joiner.output_linear.bias"),
        ({"surprise.weight": torch.zeros(2)}, "has, beyond a Zipformer's, surprise.weight"),
        ({"joiner.output_linear.bias": torch.zeros(5)}, r"joiner.output_linear.bias is \(5,\) and should be \(20,\)"),
        ({"attention_decoder.x": torch.zeros(2)}, None),
    ],
)
def test_missing_surplus_and_wrong_tensors(offline, changes, message):
    weights = changed(offline, **changes)
    if message is None:
        assert rnnt.import_icefall(weights)
    else:
        with pytest.raises(UserError, match=message):
            rnnt.import_icefall(weights)


@pytest.mark.parametrize(
    "name, network",
    [
        ("encoder.encoder.layers.0.lstm.weight_ih_l0", "an LSTM encoder"),
        ("encoder.encoders.0.layers.0.conv_module1.pointwise_conv1.weight", "the first Zipformer"),
        ("encoder.encoder.layers.0.self_attn.linear_pos.weight", "a Conformer"),
        ("encoder.encoder.emformer_layers.0.x", "an Emformer"),
        ("some.weight", "the first tensors are some.weight"),
    ],
)
def test_other_networks_are_refused_by_name(name, network):
    with pytest.raises(UserError, match=network):
        rnnt.import_icefall({name: torch.zeros(2, 2)})


def test_heads_that_do_not_fit_the_shapes(offline):
    with pytest.raises(UserError, match="rows of the attention do not go with .*pos_head_dim 3"):
        rnnt.import_icefall(offline, pos_head_dim=3)
    with pytest.raises(UserError, match="no option colour"):
        rnnt.import_icefall(offline, colour=3)
    with pytest.raises(UserError, match="--chunk-size"):
        rnnt.import_icefall(changed(offline), causal=True, chunk_size=[5])


@pytest.mark.parametrize("content", [{}, [], {"model": {}}, {"model": 3}, {"model": {"a": "b"}}])
def test_what_holds_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match="x.pt: not a checkpoint of icefall"):
        rnnt.import_icefall(tmp_path / "x.pt")


def test_torchscript_is_named(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "jit_script.pt"))
    with pytest.raises(UserError, match="jit_script.pt: .*it is TorchScript.*give pretrained.pt"):
        rnnt.import_icefall(tmp_path / "jit_script.pt")
    with pytest.raises(UserError, match="no such checkpoint"):
        rnnt.import_icefall(tmp_path / "none.pt")


@pytest.fixture
def trained(tmp_path, offline) -> TrainedModel:
    write_tokens(tmp_path / "tokens.txt", 20)
    return imported_model(rnnt.import_icefall(offline), tmp_path / "tokens.txt", tmp_path, "trained")


def test_what_was_imported_is_exported_bit_for_bit(tmp_path, offline, trained):
    write_icefall(tmp_path / "out", trained)
    # As icefall reads it: plain tensors.
    content = torch.load(tmp_path / "out" / "pretrained.pt", weights_only=True)
    assert list(content) == ["model"]
    assert content["model"].keys() == offline.keys()
    for name, value in offline.items():
        assert torch.equal(content["model"][name], value), name
    assert (tmp_path / "out" / "tokens.txt").read_text() == (tmp_path / "tokens.txt").read_text()
    with pytest.raises(UserError, match="out: already exists"):
        write_icefall(tmp_path / "out", trained)


def test_adapters_have_their_names_and_come_back(tmp_path, trained):
    """Those of the recipe zipformer_adapter: four a layer."""
    config = trained.network.config
    changed = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, adapter_dim=6))
    network = Transducer(changed).with_heads(dict(trained.network.heads.items())).eval()
    write_icefall(tmp_path / "out", dataclasses.replace(trained, network=network))
    weights = torch.load(tmp_path / "out" / "pretrained.pt", weights_only=True)["model"]
    for place in ("post_sa_adapter", "mid_adapter", "post_conv_adapter", "adapter"):
        names = [f"encoder.encoders.0.layers.0.{place}.{name}" for name in ("in_proj.weight", "out_proj.bias")]
        assert [weights[name].shape[0] for name in names] == [6, config.encoder.encoder_dim[0]]
    again = rnnt.import_icefall(tmp_path / "out" / "pretrained.pt")
    assert again.config.encoder.adapter_dim == 6
    wanted = network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())


def test_what_icefall_has_not_is_refused(tmp_path, trained):
    network = trained.network
    without = network.with_heads({"ctc": network.heads["ctc"]})
    with pytest.raises(UserError, match="--loss pruned"):
        write_icefall(tmp_path / "out", dataclasses.replace(trained, network=without))
    network.set_feature_statistics(np.ones(80, np.float32), np.ones(80, np.float32))
    with pytest.raises(UserError, match="--normalize-features false"):
        write_icefall(tmp_path / "out", trained)
    assert not (tmp_path / "out").exists()


def test_from_training_to_icefall(tmp_path, toy_argv):
    """The program writes every layer of a checkpoint, those of the losses too."""
    argv = toy_argv(
        tmp_path / "exp", encoder="zipformer", num_encoder_layers="1,1", downsampling_factor="1,2", encoder_dim=16,
        num_heads=2, encoder_unmasked_dim=16, feedforward_dim=16, cnn_module_kernel=3, query_head_dim=4,
        value_head_dim=4, pos_dim=4, icefall_predictor="true", normalize_features="false", num_epochs=1,
    )  # fmt: skip
    train.main(argv)
    state = torch.load(tmp_path / "exp" / "epoch-1.pt", weights_only=True)
    export_model.main(["--format", "icefall", "--exp-dir", str(tmp_path / "exp"), "--out", str(tmp_path / "out")])
    network = rnnt.import_icefall(tmp_path / "out" / "pretrained.pt", num_features=8)
    assert list(network.heads) == ["pruned", "ctc"]
    ours = {**state["model"], **{f"heads.{name}": value for name, value in state["objectives"].items()}}
    found = network.state_dict()
    assert found.keys() == ours.keys()
    assert all(torch.equal(value, ours[name]) for name, value in found.items())


def test_export_of_another_model(tmp_path, toy_argv, capsys):
    train.main(toy_argv(tmp_path / "exp", num_epochs=1))
    with pytest.raises(SystemExit):
        export_model.main(["--format", "icefall", "--exp-dir", str(tmp_path / "exp"), "--out", str(tmp_path / "out")])
    assert "the encoder is lstm; icefall reads a zipformer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes, tokens, options, message",
    [
        ({"encoder.encoder.layers.0.lstm.weight_ih_l0": torch.zeros(2)}, 20, [], "this is an LSTM encoder"),
        ({"joiner.output_linear.bias": None}, 20, [], "x.pt: lacks joiner.output_linear.bias"),
        ({"surprise.weight": torch.zeros(2)}, 20, [], "x.pt: has, beyond a Zipformer's, surprise.weight"),
        ({}, 21, [], "21 tokens with blank 0, the model has 20"),
        (None, 20, ["--chunk-size", "5"], "x.pt: --chunk-size 5 is no multiple of"),
        (None, 20, ["--chunk-size", "8", "--left-context-frames", "1"], "x.pt: --left-context-frames 1 with"),
        ({}, 20, ["--chunk-size", "16"], "x.pt: --chunk-size is of a causal model, which this is not"),
        ({}, 20, ["--num-heads", "4,4"], "x.pt: num_heads has 2 numbers"),
        ({}, 20, ["--num-heads", "4,4,4,4,4,4,4"], "x.pt: --num-heads has 7 numbers"),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(
    vectors, offline, tmp_path, capsys, changes, tokens, options, message
):
    weights = by_formula(vectors["causal/names"]) if changes is None else changed(offline, **changes)
    if "LSTM" in message:
        weights = changes
    torch.save({"model": weights}, tmp_path / "x.pt")
    write_tokens(tmp_path / "tokens.txt", tokens)
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "x.pt"), "--tokens", str(tmp_path), "--out", str(tmp_path / "model"), *options])
    error = capsys.readouterr().err
    assert ended.value.code and re.search(message, error) and len(error.strip().splitlines()) == 1, error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.txt", "x.pt"]
