"""What observers are told, and how a run ends."""

import pytest
import torch

from rnnt.checkpoints.epochs import read_epochs
from rnnt.checkpoints.files import load_checkpoint, numbered
from rnnt.train import main
from rnnt.training.observers import Observer


class Recorder(Observer):
    """Notes what it is told."""

    def __init__(self):
        self.events = []

    def run_start(self, trainer):
        self.events.append(("run_start", trainer.position.step))

    def epoch_start(self, epoch):
        self.events.append(("epoch_start", epoch))

    def epoch_end(self, epoch):
        self.events.append(("epoch_end", epoch))

    def eval_start(self, epoch):
        self.events.append(("eval_start", epoch))

    def eval_end(self, epoch, result):
        self.events.append(("eval_end", epoch, result.wer))

    def run_end(self, success):
        self.events.append(("run_end", success))


@pytest.fixture
def watched(train_watched):
    """`watched(argv)`: the events of a run."""

    def events(argv):
        recorder = Recorder()
        train_watched(argv, recorder)
        return recorder.events

    return events


def epoch_events(epoch, wer):
    names = ["epoch_start", "epoch_end", "eval_start"]
    return [(name, epoch) for name in names] + [("eval_end", epoch, wer)]


def test_events_of_a_run(tmp_path, toy_argv, watched):
    events = watched(toy_argv(tmp_path))
    wers = [record["dev_wer"] for record in read_epochs(tmp_path).values()]
    assert events == [
        ("run_start", 0),
        *epoch_events(1, wers[0]),
        *epoch_events(2, wers[1]),
        ("run_end", True),
    ]


def test_an_observer_that_does_nothing_changes_nothing(tmp_path, toy_argv, train_watched):
    """All its methods are there to be called, and the run is the same as without it."""
    recorder = Recorder()
    train_watched(toy_argv(tmp_path / "watched", num_epochs=1), Observer(), recorder)
    train_watched(toy_argv(tmp_path / "alone", num_epochs=1))
    assert [event[0] for event in recorder.events] == [name for name in vars(Observer) if not name.startswith("_")]
    one, other = (load_checkpoint(tmp_path / name / "epoch-1.pt")["model"] for name in ("watched", "alone"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_stops_at_the_wer_that_was_asked_for(tmp_path, toy_argv, capsys, watched):
    argv = toy_argv(tmp_path, stop_at_wer=1000)
    events = watched(argv)
    assert events[-1] == ("run_end", True) and list(read_epochs(tmp_path)) == [1]
    assert "the target is 1000 %" in capsys.readouterr().out
    # Started again it is still complete.
    steps = read_epochs(tmp_path)[1]["step"]
    assert watched(argv) == [("run_start", steps), ("run_end", True)]


def test_a_target_that_is_not_reached_is_no_success(tmp_path, toy_argv, watched):
    assert watched(toy_argv(tmp_path, num_epochs=1, stop_at_wer=0.001))[-1] == ("run_end", False)


def test_max_updates_ends_within_an_epoch_with_an_evaluation_and_continues(tmp_path, toy_argv, capsys, watched):
    events = watched(toy_argv(tmp_path / "exp", max_updates=3))
    assert [event[0] for event in events] == [
        "run_start", "epoch_start", "epoch_end", "eval_start", "eval_end", "run_end"
    ]  # fmt: skip
    assert list(numbered(tmp_path / "exp", "checkpoint")) == [3] and not numbered(tmp_path / "exp", "epoch")
    assert read_epochs(tmp_path / "exp") == {}
    assert "3 updates done, as many as --max-updates allows" in capsys.readouterr().out
    assert watched(toy_argv(tmp_path / "exp", max_updates=3)) == [("run_start", 3), ("run_end", True)]


def test_a_run_that_fails_is_no_success(tmp_path, toy_argv, train_watched, monkeypatch):
    from rnnt.training.update import Updater

    def fail(self, *arguments):
        raise RuntimeError("broken")

    monkeypatch.setattr(Updater, "update", fail)
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="broken"):
        train_watched(toy_argv(tmp_path), recorder)
    assert recorder.events[-1] == ("run_end", False)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"ema_decay": 1.0}, "argument --ema-decay: must be at least 0 and below 1, not 1.0"),
        ({"stop_at_wer": -1}, "argument --stop-at-wer: must be at least 0, not -1.0"),
    ],
)
def test_senseless_options_are_refused(tmp_path, toy_argv, capsys, options, words):
    with pytest.raises(SystemExit):
        main(toy_argv(tmp_path, **options))
    assert words in capsys.readouterr().err
