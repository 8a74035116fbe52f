"""Complete runs on toy data: they continue where they stopped, and ranks and workers change nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.cli import program
from rnnt.data.dataset import open_batches
from rnnt.distributed.launch import free_port
from rnnt.errors import UserError
from rnnt.model.objectives.base import Utterances
from rnnt.train import main
from rnnt.training.observers import Observer


def weights(exp_dir, name="epoch-2.pt"):
    return load_checkpoint(exp_dir / name)["model"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy_argv):
    """The folder of a run of two epochs that nothing disturbed; to copy, not to change."""
    exp = tmp_path_factory.mktemp("run") / "whole"
    main(toy_argv(exp))
    return exp


@pytest.fixture(scope="module")
def whole(finished):
    """The weights of that run."""
    return weights(finished)


def test_stopped_between_epochs_and_continued(tmp_path, toy_argv, whole):
    exp = tmp_path / "exp"
    main(toy_argv(exp, save_every_n=1, keep_last_k=99))
    (exp / "epoch-2.pt").unlink()
    for path in exp.glob("checkpoint-*.pt"):
        path.unlink()
    main(toy_argv(exp))
    assert_same(weights(exp), whole)


def test_stopped_in_an_epoch_and_continued(tmp_path, toy_argv, whole):
    exp = tmp_path / "exp"
    main(toy_argv(exp, save_every_n=3, keep_last_k=99))
    for path in [*exp.glob("epoch-*.pt"), *exp.glob("checkpoint-*.pt")]:
        if path.name != "checkpoint-3.pt":
            path.unlink()
    assert load_checkpoint(exp / "checkpoint-3.pt")["position"] == {"epoch": 1, "batch": 3, "step": 3}
    main(toy_argv(exp))
    assert_same(weights(exp), whole)


def test_killed_and_continued(tmp_path, toy_argv, whole):
    """SIGKILL at an arbitrary moment; what is continued is what was saved last."""
    exp = tmp_path / "exp"
    command = [sys.executable, "-m", "rnnt.train", *toy_argv(exp, save_every_n=1, keep_last_k=2)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.time() + 100
    while not list(exp.glob("checkpoint-[4-9].pt")) and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(exp.glob("checkpoint-*.pt"))
    main(toy_argv(exp))
    assert_same(weights(exp), whole)


@pytest.mark.parametrize("workers", [1, 3])
def test_number_of_workers_changes_nothing(tmp_path, toy_argv, whole, workers):
    main(toy_argv(tmp_path / "exp", num_workers=workers))
    assert_same(weights(tmp_path / "exp"), whole)


def test_two_ranks_equal_accumulation_of_two(tmp_path, toy_argv):
    one, two = tmp_path / "one", tmp_path / "two"
    main(toy_argv(one, accum_grad=2))
    main(toy_argv(two, world_size=2))
    a, b = weights(one), weights(two)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    with open(one / "epochs.jsonl") as f, open(two / "epochs.jsonl") as g:
        assert f.read() == g.read()


@pytest.mark.slow
def test_torchrun_equals_world_size(tmp_path, toy_argv):
    main(toy_argv(tmp_path / "ours", world_size=2))
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    subprocess.run([*torchrun, "-m", "rnnt.train", *toy_argv(tmp_path / "theirs")], check=True)
    assert_same(weights(tmp_path / "theirs"), weights(tmp_path / "ours"))


def test_finished_run_is_left_alone(tmp_path, toy_argv, finished, capsys):
    exp = shutil.copytree(finished, tmp_path / "exp")
    before = os.stat(exp / "epoch-2.pt").st_mtime_ns
    main(toy_argv(exp))
    assert "training is complete" in capsys.readouterr().out
    assert os.stat(exp / "epoch-2.pt").st_mtime_ns == before


def test_broken_newest_checkpoint_is_passed_over(tmp_path, toy_argv, finished, whole, capsys):
    exp = shutil.copytree(finished, tmp_path / "exp")
    data = (exp / "epoch-2.pt").read_bytes()
    (exp / "epoch-2.pt").write_bytes(data[: len(data) // 2])
    main(toy_argv(exp))
    assert "going back to the one before" in capsys.readouterr().out
    assert_same(weights(exp), whole)


def test_start_epoch(tmp_path, toy_argv, whole):
    exp = tmp_path / "exp"
    main(toy_argv(exp, save_every_n=2))
    main(toy_argv(exp, start_epoch=2))
    assert_same(weights(exp), whole)
    with pytest.raises(SystemExit):
        main(toy_argv(exp, start_epoch=9))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"encoder_dim": 32}, "encoder_dim is 24 in the checkpoint and 32 now"),
        ({"loss": "pruned"}, "--loss is pruned ctc in the checkpoint and pruned now"),
        ({"predictor": "lstm"}, "predictor: name is stateless in the checkpoint and lstm now"),
        ({"normalize_features": "false"}, "--normalize-features is true there and false now"),
    ],
)
def test_checkpoint_of_another_configuration_is_refused(tmp_path, toy_argv, finished, capsys, options, words):
    exp = shutil.copytree(finished, tmp_path / "exp")
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(exp, **options))
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert words in error and "another --exp-dir" in error and error.count("\n") == 1


def test_another_plan_is_refused_only_in_the_middle_of_an_epoch(tmp_path, toy_argv, capsys):
    exp = tmp_path / "exp"
    main(toy_argv(exp, save_every_n=3, num_epochs=1))
    shutil.copytree(exp, tmp_path / "between")
    (exp / "epoch-1.pt").unlink()
    with pytest.raises(SystemExit):
        main(toy_argv(exp, max_duration=5))
    assert "in the middle of an epoch of another batch plan" in capsys.readouterr().err
    main(toy_argv(tmp_path / "between", max_duration=5))
    assert (tmp_path / "between" / "epoch-2.pt").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"manifest_dir": "/nowhere"}, "/nowhere/features.json: no such file"),
        ({"bpe_model": "/nowhere/bpe.model"}, "no such BPE model"),
        ({"encoder_dim": 300_000}, "the model is too large: "),
        ({"encoder_dim": 5_000_000_000}, "the model is too large: "),
        ({"train_set": "other"}, "other.jsonl: no such manifest"),
        ({"loss_backend": "k2"}, "--loss-backend k2: backend k2 needs a k2 built for torch"),
        ({"use_fp16": "true"}, "--use-fp16 needs a GPU"),
        ({"vocab_size": 500}, "--vocab-size is 500, but the tokenizer has"),
        ({"blank_id": 3}, "--blank-id is 3, but the tokenizer has blank at 0"),
    ],
)
def test_bad_input_is_one_line(tmp_path, toy_argv, capsys, monkeypatch, options, words):
    monkeypatch.setitem(sys.modules, "k2", None)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", **options))
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


class DevLoss(Observer):
    """Measures the loss of the dev set before the first update and after each epoch."""

    def run_start(self, trainer):
        self.trainer, self.losses = trainer, []
        self.measure()

    def eval_start(self, epoch):
        self.measure()

    def measure(self):
        model, data = self.trainer.model, self.trainer.data
        model.eval()
        total = 0.0
        with torch.no_grad():
            for batch in open_batches(data.dev["dev"], data.dev_loader, 100.0, data.tokenizer):
                total += float(model(Utterances(batch.x_BTF, batch.x_len_B, *batch.targets()), 1000).total)
        model.train()
        self.losses.append(total)


def test_bf16_trains(tmp_path, toy_argv, train_watched, skip_without_bf16):
    skip_without_bf16()
    dev = DevLoss()
    train_watched(toy_argv(tmp_path / "exp", base_lr=0.01, use_bf16="true"), dev)
    assert all(torch.isfinite(w).all() for w in weights(tmp_path / "exp").values())
    assert dev.losses[2] < 0.9 * dev.losses[0]


def test_lstm_predictor_and_full_loss_train(tmp_path, toy_argv, train_watched):
    dev = DevLoss()
    train_watched(toy_argv(tmp_path / "exp", base_lr=0.01, predictor="lstm", loss="full"), dev)
    assert dev.losses[2] < dev.losses[1] < dev.losses[0] and dev.losses[2] < 0.9 * dev.losses[0]


def test_another_front_end_than_that_of_the_features_is_refused(tmp_path, toy_argv, capsys):
    front_end = tmp_path / "fbank.yaml"
    front_end.write_text("frontend: slaney_log_mel\nhigh_freq: 4000\nperturb_speed: 0.9 1.1\n")
    config = tmp_path / "train.yaml"
    config.write_text("front_end: fbank.yaml\n")
    with pytest.raises(SystemExit):
        main([*toy_argv(tmp_path / "exp"), "--config", str(config)])
    error = capsys.readouterr().err
    assert f"frontend is slaney_log_mel in {front_end} and kaldi_fbank in " in error and "perturb_speed" not in error


def test_an_error_that_every_rank_meets_is_one_line(tmp_path, toy_argv, capfd):
    """No rank finds the set; nobody waits for ever."""
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", world_size=2, train_set="nothing"))
    assert stop.value.code == 1
    assert "nothing.jsonl: no such manifest" in capfd.readouterr().err


def test_program_turns_a_user_error_into_one_line(capsys):
    @program
    def broken(argv=None):
        raise UserError("f.txt: item 3: bad; correct it")

    with pytest.raises(SystemExit) as stop:
        broken([])
    assert stop.value.code == 1 and capsys.readouterr().err.endswith("error: f.txt: item 3: bad; correct it\n")


def break_features(toy, folder, every):
    """A copy of the toy data in which every so-many-th training utterance has an infinite feature."""
    import numpy as np
    from lhotse import CutSet, NumpyFilesWriter

    shutil.copytree(toy, folder)
    cuts = []
    with NumpyFilesWriter(folder / "broken") as writer:
        for i, cut in enumerate(CutSet.from_file(toy / "train.jsonl")):
            x_TF = np.array(cut.load_features())
            if i % every == 0:
                x_TF[0, 0] = np.inf
            cut.features.storage_key = writer.write(cut.id, x_TF)
            cut.features.storage_type, cut.features.storage_path = writer.name, str(writer.storage_path)
            cuts.append(cut)
    CutSet.from_cuts(cuts).to_file(folder / "train.jsonl")


@pytest.mark.parametrize("loss", ["pruned ctc", "pruned", "full"])
def test_a_batch_with_a_non_finite_loss_is_named_kept_and_skipped(tmp_path, toy, toy_argv, capsys, loss):
    """By the transducer losses alone too."""
    break_features(toy, tmp_path / "data", every=48)
    # A mask would hide the broken cell.
    main(toy_argv(tmp_path / "exp", manifest_dir=tmp_path / "data", enable_spec_aug="false", loss=loss))
    output = capsys.readouterr().out
    assert "is not finite; skipped" in output and "train-000" in output
    assert len(list((tmp_path / "exp" / "bad_batches").glob("*.pt"))) == 2
    assert all(torch.isfinite(w).all() for w in weights(tmp_path / "exp").values())


def test_training_stops_when_that_repeats(tmp_path, toy, toy_argv, capsys):
    break_features(toy, tmp_path / "data", every=1)
    with pytest.raises(SystemExit) as stop:
        main(toy_argv(tmp_path / "exp", manifest_dir=tmp_path / "data", max_bad_batches=3, enable_spec_aug="false"))
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "3 updates in a row" in error and "lower --base-lr" in error
