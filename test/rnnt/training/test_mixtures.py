"""Training on several sets, measured on several: stopped and continued, reported, refused."""

import json
import re
import shutil

import pytest
import torch

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint
from rnnt.reporting.program import main as report
from rnnt.train import main


@pytest.fixture(scope="module")
def folder(toy, add_toy_set, tmp_path_factory):
    """Beside the toy data a folder with the smaller set `more`."""
    other = tmp_path_factory.mktemp("other")
    add_toy_set(other, "more", 12, seed=3)
    shutil.copy(toy / "features.json", other)
    return other


@pytest.fixture(scope="module")
def mixed(toy_argv, folder, tmp_path_factory):
    """A run of two epochs that nothing disturbed, and its arguments."""
    exp = tmp_path_factory.mktemp("exp")
    options = {"train_set": f"train:0.7 {folder}/more:0.3", "dev_set": f"dev {folder}/more", "save_every_n": 4}
    main(toy_argv(exp, **options))
    return exp, options


def test_stopped_in_an_epoch_and_continued(mixed, toy_argv, tmp_path):
    exp, options = mixed
    begun = load_checkpoint(exp / "checkpoint-12.pt")
    assert begun["position"]["epoch"] == 2 and begun["position"]["batch"] > 0
    shutil.copytree(exp, tmp_path / "exp")
    (tmp_path / "exp" / "epoch-2.pt").unlink()
    main(toy_argv(tmp_path / "exp", **options))
    one, other = (load_checkpoint(folder / "epoch-2.pt")["model"] for folder in (exp, tmp_path / "exp"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_each_dev_set_is_measured_and_shown(mixed, folder, tmp_path):
    exp, _ = mixed
    for line in (exp / "epochs.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert set(record["dev_wers"]) == {"dev", f"{folder}/more"} and record["dev_wers"]["dev"] == record["dev_wer"]
    log = (exp / "log" / "train.txt").read_text()
    assert re.search(r"/more: 0.0 h, (29|30|31)\.. % of the time, [\d.]+ times in an epoch", log)
    assert f"epoch 2: dev %WER {record['dev_wer']:.2f}" in log and f"{folder}/more %WER" in log
    report([str(exp), "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert f"WER {folder}/more" in page and "WER of each dev set" in page


def test_averages_take_their_batch_statistics_from_the_mixture(mixed):
    assert load_for_decoding(mixed[0], Selection(avg=2)).name


@pytest.mark.parametrize(
    "options, words",
    [
        ({"train_set": "train:0.7 other:0.3"}, "other.jsonl: no such manifest"),
        ({"train_set": "train:0 dev:1"}, "--train-set: the weight of the set train is 0"),
        ({"dev_set": "dev dev"}, "--dev-set: the set dev is named twice"),
        ({"dev_set": "dev:0.5"}, "--dev-set: 'dev:0.5' can't be the name of a set"),
        ({"mix_temperature": 0}, "--mix-temperature"),
    ],
)
def test_bad_sets_are_one_line(tmp_path, toy_argv, capsys, options, words):
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", **options))
    error = capsys.readouterr().err
    assert stop.value.code in (1, 2) and words in error and error.count("\n") == 1
    assert not (tmp_path / "exp" / "config.json").exists()


def test_another_mixture_is_another_plan(mixed, toy_argv, tmp_path, capsys):
    exp, options = mixed
    shutil.copytree(exp, tmp_path / "exp")
    (tmp_path / "exp" / "epoch-2.pt").unlink()
    with pytest.raises(SystemExit):
        main(toy_argv(tmp_path / "exp", **{**options, "train_set": options["train_set"].replace("0.3", "0.4")}))
    assert "in the middle of an epoch of another batch plan" in capsys.readouterr().err


def test_a_set_with_other_features_is_refused(folder, toy_argv, tmp_path, capsys):
    other = tmp_path / "narrow"
    shutil.copytree(folder, other)
    values = json.loads((other / "features.json").read_text())
    (other / "features.json").write_text(json.dumps({**values, "low_freq": 40.0}))
    with pytest.raises(SystemExit):
        main(toy_argv(tmp_path / "exp", train_set=f"train {other}/more"))
    assert "low_freq is 20.0 in" in capsys.readouterr().err
