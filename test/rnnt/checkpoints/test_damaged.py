"""Checkpoints, and files beside them, that are not ours or damaged: training goes back, decoding refuses."""

import copy
import json
import os
import shutil

import pytest
import torch

from rnnt.checkpoints.files import load_training, save_checkpoint
from rnnt.checkpoints.schema import fault_of
from rnnt.decode import main as decode
from rnnt.errors import UserError
from rnnt.export_model import main as export
from rnnt.train import main as train


@pytest.fixture(scope="module")
def trained(toy_argv, tmp_path_factory):
    """An experiment of two epochs, with epoch-1.pt, checkpoint-8.pt and epoch-2.pt."""
    exp = tmp_path_factory.mktemp("trained") / "exp"
    train(toy_argv(exp, save_every_n=4, ema_decay=0.5, average_period=2, keep_last_k=9))
    return exp


@pytest.fixture
def exp(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "exp")
    return tmp_path / "exp"


def changed(*keys, value=None, remove=False):
    """A change of what lies at the keys of a checkpoint."""

    def change(state):
        *path, last = keys
        inner = state
        for key in path:
            inner = inner[key]
        if remove:
            del inner[last]
        else:
            inner[last] = value(inner[last]) if callable(value) else value
        return state

    return change


UNKNOWN_FIELD = b"\x98\x06\x01"  # of a SentencePiece model: the same tokens in another file


def nan_like(tensor):
    return torch.full_like(tensor, torch.nan)


WEIGHT = "joiner.output.weight"
DAMAGE = {
    "a tensor": lambda state: torch.ones(3),
    "a list": lambda state: [1, 2],
    "empty": lambda state: {},
    "a text": lambda state: "checkpoint",
    "weights alone": lambda state: state["model"],
    "model alone": lambda state: {"model": state["model"]},
    "no position": changed("position", remove=True),
    "no fingerprint": changed("fingerprint", remove=True),
    "a foreign part": lambda state: {**state, "epoch": 3},
    "position is a list": changed("position", value=[1, 2, 3]),
    "position of floats": changed("position", "step", value=1.5),
    "position of texts": changed("position", "epoch", value="2"),
    "position of a truth": changed("position", "batch", value=True),
    "negative position": changed("position", "batch", value=-1),
    "no such position": changed("position", "frame", value=1),
    "weights are a list": changed("model", value=[1.0]),
    "a weight is a number": changed("model", WEIGHT, value=1.0),
    "a weight is not finite": changed("model", WEIGHT, value=nan_like),
    "a weight of the objectives is not finite": lambda state: changed(
        "objectives", next(iter(state["objectives"])), value=nan_like
    )(state),
    "a moving average is not finite": changed("ema", "model", WEIGHT, value=nan_like),
    "a weight is missing": changed("model", WEIGHT, remove=True),
    "a foreign weight": changed("model", "encoder.other", value=torch.ones(2)),
    "a weight of another shape": changed("model", WEIGHT, value=lambda tensor: tensor[:2]),
    "a weight of another type": changed("model", WEIGHT, value=lambda tensor: tensor.long()),
    "mean of weights without names": changed("average", "mean", value=3),
    "fingerprint is a text": changed("fingerprint", value="abc"),
    "fingerprint without model": changed("fingerprint", "config", value={}),
}
FOR_TRAINING = {
    "optimizer is a list": changed("optimizer", value=[]),
    "optimizer without groups": changed("optimizer", "param_groups", value=None),
    "optimizer of another model": changed("optimizer", "state", value=lambda state: {
        number: {name: torch.ones(3) if name.startswith("exp_avg") else v for name, v in values.items()}
        for number, values in state.items()
    }),
    "optimizer with other numbers": changed("optimizer", "param_groups", value=lambda groups: [
        {**group, "params": [n + 1 for n in group["params"]]} for group in groups
    ]),
    "scaler of nothing": changed("scaler", value={"scale": "x"}),
    "behind the plan": changed("position", value={"epoch": 3, "batch": 10_000, "step": 10}),
    "an epoch of another name": changed("position", "epoch", value=1_000_000_000),
    "mean of weights of another model": changed("average", "mean", value={"x": torch.ones(2)}),
}  # fmt: skip


def damage(path, change):
    save_checkpoint(path, change(copy.deepcopy(load_training(path))))


def refused(main, argv, capsys):
    """The one line with which a program refuses."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(argv)
    error = capsys.readouterr().err
    assert stop.value.code == 1 and error.count("\n") == 1 and "Traceback" not in error, error
    return error


def some(kinds, fast):
    """All kinds as parameters, but those of `fast` marked as slow: `fault_of` alone is tried with all."""
    return [kind if kind in fast else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_a_checkpoint_lacks_is_said(trained, kind):
    state = load_training(trained / "epoch-2.pt")
    assert fault_of(state) is None
    fault = fault_of(DAMAGE[kind](copy.deepcopy(state)))
    if kind not in FOUND_BY_FIT:
        assert fault and "\n" not in fault


FOUND_BY_FIT = {
    "a weight is missing", "a foreign weight", "a weight of another shape", "a weight of another type",
}  # fmt: skip
FAST = {"a tensor", "weights alone", "position is a list", "a weight is not finite", "a weight of another shape"}


@pytest.mark.parametrize("kind", some([*DAMAGE, *FOR_TRAINING], FAST | set(FOR_TRAINING)))
def test_training_goes_back_to_the_newest_good_one(exp, toy_argv, trained, capsys, kind):
    damage(exp / "epoch-2.pt", {**DAMAGE, **FOR_TRAINING}[kind])
    train(toy_argv(exp, save_every_n=4, ema_decay=0.5, average_period=2, keep_last_k=9))
    out = capsys.readouterr().out
    assert "epoch-2.pt: " in out and "going back to the one before" in out
    assert f"continuing from {exp / 'checkpoint-8.pt'}" in out
    one, two = load_training(exp / "epoch-2.pt"), load_training(trained / "epoch-2.pt")
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in two["model"])


@pytest.mark.parametrize("kind", some(DAMAGE, FAST))
def test_decoding_and_export_refuse_it(exp, toy, tmp_path, capsys, kind):
    damage(exp / "epoch-2.pt", DAMAGE[kind])
    for main, argv in ((decode, ["--manifest-dir", str(toy)]), (export, ["--out", str(tmp_path / "model")])):
        assert f"{exp / 'epoch-2.pt'}: not a checkpoint that can be used" in refused(
            main, ["--exp-dir", str(exp), *argv], capsys
        )
    assert not (tmp_path / "model").exists()


def test_where_no_checkpoint_is_good_nothing_begins_anew(exp, toy_argv, capsys):
    for path in exp.glob("*-*.pt"):
        save_checkpoint(path, {})
    assert f"{exp}: no checkpoint in it can be used" in refused(train, toy_argv(exp), capsys)


def test_another_optimizer_is_refused(exp, toy_argv, capsys):
    assert "the optimizer can't continue" in refused(train, toy_argv(exp, optimizer="lamb"), capsys)


def test_a_folder_or_a_circle_of_links_is_no_checkpoint(exp, toy_argv, capsys):
    (exp / "epoch-7.pt").mkdir()
    (exp / "checkpoint-99.pt").symlink_to("checkpoint-99.pt")
    train(toy_argv(exp, num_epochs=2, ema_decay=0.5))
    assert "training is complete" in capsys.readouterr().out


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_checkpoint_and_no_weights_are_unpickled(exp, toy, toy_argv, tmp_path, capsys):
    ran = tmp_path / "ran"
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "model")])
    for path in (exp / "epoch-2.pt", tmp_path / "model" / "weights.pt", exp / "averaged-epoch-2-avg-2-ema.pt"):
        torch.save({"model": Touch(ran)}, path)
    refused(decode, ["--exp-dir", str(exp), "--manifest-dir", str(toy)], capsys)
    refused(decode, ["--model-dir", str(tmp_path / "model"), "--manifest-dir", str(toy)], capsys)
    refused(train, toy_argv(tmp_path / "new", init_from=exp), capsys)
    refused(train, toy_argv(tmp_path / "new", init_from=tmp_path / "model"), capsys)
    train(toy_argv(exp, ema_decay=0.5))
    torch.save({"model": Touch(ran)}, exp / "averaged-epoch-2-avg-2-ema.pt")
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "mean"), "--avg", "2"])
    assert not ran.exists()


REFUSED = [
    {"encoder_dim": 32}, {"loss": "pruned"}, {"start_epoch": 9}, {"joiner_activation": "relu"}, {"use_fp16": "true"},
    {"subsampling_channels": 8}, {"init_from": "/nowhere"}, {"bpe_model": "other.model"}, {"optimizer": "lamb"},
]  # fmt: skip


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("options", REFUSED, ids=str)
def test_a_refused_training_writes_nothing(exp, toy, toy_argv, tmp_path, capsys, options):
    if "bpe_model" in options:
        options = {"bpe_model": tmp_path / "other.model"}
        options["bpe_model"].write_bytes((toy / "bpe.model").read_bytes() + UNKNOWN_FIELD)
    before = contents(exp)
    refused(train, toy_argv(exp, **options), capsys)
    assert contents(exp) == before
    os.mkdir(tmp_path / "empty")
    if "start_epoch" in options or "init_from" in options or "use_fp16" in options:
        refused(train, toy_argv(tmp_path / "empty", **options), capsys)
        assert not contents(tmp_path / "empty")


def test_decoding_takes_the_model_from_the_checkpoint_and_proves_its_tokens(exp, toy, tmp_path, capsys):
    argv = ["--exp-dir", str(exp), "--manifest-dir", str(toy), "--num-workers", "0", "--threads", "1"]
    decode(argv)
    wanted = (exp / "decode_greedy_search" / "dev" / "hyp.trn").read_text()
    record = json.loads((exp / "config.json").read_text())
    record["model"]["joiner"]["joiner_activation"] = "relu"
    record["features"]["frame_length_ms"] = 32.0
    (exp / "config.json").write_text(json.dumps(record))
    shutil.rmtree(exp / "decode_greedy_search")
    decode(argv)
    assert (exp / "decode_greedy_search" / "dev" / "hyp.trn").read_text() == wanted
    with open(exp / "bpe.model", "ab") as file:
        file.write(UNKNOWN_FIELD)
    assert f"{exp / 'bpe.model'}: not the tokenizer" in refused(decode, argv, capsys)
    assert "not the tokenizer" in refused(export, ["--exp-dir", str(exp), "--out", str(tmp_path / "model")], capsys)


def test_checkpoints_of_two_trainings_have_no_average(exp, capsys, tmp_path):
    damage(exp / "epoch-1.pt", changed("fingerprint", "config", "model", "joiner", "joiner_activation", value="relu"))
    error = refused(export, ["--exp-dir", str(exp), "--out", str(tmp_path / "model"), "--avg", "2"], capsys)
    assert "epoch-1.pt: from another training than" in error


@pytest.mark.parametrize("name", ["weights.pt", "bpe.model"])
def test_a_file_of_another_model_in_a_model_directory_is_found(exp, toy, tmp_path, capsys, name):
    for epoch in ("1", "2"):
        export(["--exp-dir", str(exp), "--out", str(tmp_path / epoch), "--epoch", epoch])
    if name == "weights.pt":
        shutil.copyfile(tmp_path / "1" / name, tmp_path / "2" / name)
    else:
        with open(tmp_path / "2" / name, "ab") as file:
            file.write(UNKNOWN_FIELD)
    error = refused(decode, ["--model-dir", str(tmp_path / "2"), "--manifest-dir", str(toy)], capsys)
    assert f"{tmp_path / '2' / name}: not the file that" in error


BROKEN_JSON = {
    "list": "[1]", "null": "null", "empty": "", "object": "{}", "deep": "[" * 100_000, "text": '"x"', "number": "7",
    "not text": "\udcff",
}  # fmt: skip


def make_broken(path, kind):
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path.name)
    else:
        path.write_text(BROKEN_JSON[kind], encoding="utf-8", errors="surrogateescape")


@pytest.mark.parametrize("kind", [*BROKEN_JSON, "folder", "circle"])
def test_a_broken_config_json_is_one_line_where_it_is_needed(exp, toy, toy_argv, tmp_path, capsys, kind):
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "model")])
    for where in (exp, tmp_path / "model"):
        make_broken(where / "config.json", kind)
    assert "config.json" in refused(
        decode, ["--model-dir", str(tmp_path / "model"), "--manifest-dir", str(toy)], capsys
    ) or kind == "object"  # fmt: skip
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "again")])  # the checkpoint says it all
    if kind != "folder":
        train(toy_argv(exp, ema_decay=0.5))
        assert json.loads((exp / "config.json").read_text())["format"] == 2
    else:
        assert "config.json" in refused(train, toy_argv(exp, ema_decay=0.5), capsys)


WRONG = {
    "vocab_size": ("model", "vocab_size", "x"), "encoder": ("model", "encoder", []),
    "joiner": ("model", "joiner", None), "name": ("model", "encoder", {"name": []}),
    "features": ("features", None, 3), "bins": ("features", "num_mel_bins", [80]),
    "format": ("format", None, [2]), "selection": ("selection", None, {}), "edges": ("features", "snip_edges", "no"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_types_in_a_model_directory_are_one_line(exp, toy, tmp_path, capsys, kind):
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "model")])
    where, (part, name, value) = tmp_path / "model" / "config.json", WRONG[kind]
    record = json.loads(where.read_text())
    if name:
        record[part][name] = value
    else:
        record[part] = value
    where.write_text(json.dumps(record))
    error = refused(decode, ["--model-dir", str(tmp_path / "model"), "--manifest-dir", str(toy)], capsys)
    assert f"{where}: " in error


RECORDS = ["[1]", "{}", '{"epoch": 1}', '{"epoch": "1", "dev_wer": 3}', '{"epoch": 1, "dev_wer": "x"}', "[" * 100_000,
           '{"epoch": 1, "dev_wer": NaN}', '{"epoch": [1], "dev_wer": 1}', "null"]  # fmt: skip


@pytest.mark.parametrize("line", RECORDS, ids=range(len(RECORDS)))
def test_a_broken_record_is_named_before_anything_is_written(exp, toy_argv, tmp_path, capsys, line):
    with open(exp / "epochs.jsonl", "a") as file:
        file.write(line + "\n")
    before = contents(exp)
    assert f"{exp / 'epochs.jsonl'}: line 3 is broken" in refused(train, toy_argv(exp, ema_decay=0.5), capsys)
    assert contents(exp) == before
    argv = ["--exp-dir", str(exp), "--out", str(tmp_path / "model"), "--best", "1"]
    assert "line 3 is broken" in refused(export, argv, capsys)


def test_training_goes_on_without_its_lines(exp, toy_argv, capsys):
    """Where training.jsonl can't be written, the log says so once."""
    (exp / "training.jsonl").unlink(missing_ok=True)
    make_broken(exp / "training.jsonl", "folder")
    train(toy_argv(exp, num_epochs=3, ema_decay=0.5))
    assert (exp / "epoch-3.pt").exists()
    assert capsys.readouterr().out.count("training.jsonl: no more lines: Is a directory") == 1


@pytest.mark.parametrize("kind", ["folder", "circle"])
@pytest.mark.parametrize("name", ["epochs.jsonl", ".lock", "log", "log/train.txt", "tensorboard"])
def test_what_stands_in_the_place_of_a_file_of_ours(exp, toy_argv, capsys, name, kind):
    path = exp / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    make_broken(path, kind)
    argv = toy_argv(exp, num_epochs=3, ema_decay=0.5, tensorboard="true")
    if (name, kind) == ("log", "folder") or name == "tensorboard":
        train(argv)
        assert (exp / "epoch-3.pt").exists()
        assert ("no more TensorBoard events" in capsys.readouterr().out) == (kind == "circle")
        return
    before = contents(exp)
    assert f"{exp / name.split('/')[0]}" in refused(train, argv, capsys)
    assert contents(exp) == before


def test_a_lock_that_is_a_link_empties_no_other_file(exp, toy_argv, tmp_path, capsys):
    (tmp_path / "precious").write_text("precious")
    (exp / ".lock").unlink()
    (exp / ".lock").symlink_to(tmp_path / "precious")
    assert ".lock: can't open it" in refused(train, toy_argv(exp), capsys)
    assert (tmp_path / "precious").read_text() == "precious"


def test_an_experiment_that_is_a_file_is_refused(toy_argv, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    refused(train, toy_argv(tmp_path / "file"), capsys)
    refused(train, toy_argv(tmp_path / "file" / "exp"), capsys)
    assert (tmp_path / "file").read_text() == "x"


def test_user_errors_of_the_check_name_the_file(exp):
    save_checkpoint(exp / "epoch-1.pt", {})
    with pytest.raises(UserError, match="epoch-1.pt: .*it has no model, objectives, optimizer.*use an older one"):
        load_training(exp / "epoch-1.pt")
