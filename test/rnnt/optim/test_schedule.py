"""Learning rates at known points."""

import pytest

from rnnt.optim.config import OptimConfig
from rnnt.optim.schedule import TrainingProgress
from rnnt.options import make


def learning_rate(config, progress):
    return config.schedule.learning_rate(config.optimizer.base_lr, progress)


@pytest.mark.parametrize(
    "schedule, progress, expected",
    [("constant", 0.9, 1.0), ("linear", 0.5, 0.55), ("cosine", 0.5, 0.55), ("cosine", 1.0, 0.1)],
)
def test_after_the_warm_up(schedule, progress, expected):
    fall = {} if schedule == "constant" else {"final_lr_scale": 0.1}
    config = make(OptimConfig, base_lr=1.0, schedule=schedule, warmup_steps=10, **fall)
    assert learning_rate(config, TrainingProgress(1000, progress, 1, 1)) == pytest.approx(expected)


def test_warm_up_rises_to_the_top():
    config = make(OptimConfig, base_lr=2.0, schedule="constant", warmup_steps=4)
    assert [learning_rate(config, TrainingProgress(s, 0.0, 1, 9)) for s in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


def in_epochs(config, epoch_steps, number):
    """The learning rate of update `number`, from 1."""
    return learning_rate(config, TrainingProgress(number - 1, 0.0, 1 + (number - 1) // epoch_steps, epoch_steps))


def test_hold_is_the_schedule_of_the_table():
    """Global batch 1024 of the MLPerf reference: 272 updates an epoch, warm-up 6, hold 40, gamma 0.935."""
    config = make(
        OptimConfig, base_lr=4e-3, schedule="hold", warmup_epochs=6, hold_epochs=40, lr_gamma=0.935, min_lr=1e-5
    )
    warm = 6 * 272
    assert in_epochs(config, 272, 1) == 1e-5  # the floor; the line begins at 2 / (warm + 1)
    assert in_epochs(config, 272, 5) == pytest.approx(4e-3 * 6 / (warm + 1))
    assert in_epochs(config, 272, 1000) == pytest.approx(4e-3 * 1001 / (warm + 1))
    assert in_epochs(config, 272, warm - 1) == pytest.approx(4e-3 * warm / (warm + 1))
    assert in_epochs(config, 272, warm) == in_epochs(config, 272, 46 * 272) == 4e-3
    # One step down at the first update of each epoch after, none within it.
    for epoch in (47, 48, 60):
        first, last = (epoch - 1) * 272 + 1, epoch * 272
        expected = pytest.approx(4e-3 * 0.935 ** (epoch - 46))
        assert in_epochs(config, 272, first) == in_epochs(config, 272, last) == expected
    assert in_epochs(config, 272, 200 * 272) == 1e-5


def test_bad_schedules_are_refused():
    for changes in ({"lr_gamma": 0.0}, {"lr_gamma": 1.1}, {"warmup_epochs": -1.0}, {"min_lr": -1e-5}):
        with pytest.raises(ValueError, match="must be"):
            make(OptimConfig, schedule="hold", **changes)


def test_eden_falls_by_updates_and_by_epochs():
    """b counts updates from 1, e the epochs that are done."""
    config = make(
        OptimConfig, base_lr=0.04, schedule="eden", warmup_steps=500, warmup_start=0.5, lr_batches=7500, lr_epochs=3.5
    )
    assert learning_rate(config, TrainingProgress(0, 0.0, 1, 100)) == pytest.approx(0.04 * (0.5 + 0.5 / 500))
    assert learning_rate(config, TrainingProgress(249, 0.0, 1, 100)) == pytest.approx(
        0.03 * (1 + (1 / 30) ** 2) ** -0.25
    )
    assert learning_rate(config, TrainingProgress(7499, 0.0, 1, 100)) == pytest.approx(0.04 * 2**-0.25)
    both = learning_rate(config, TrainingProgress(14999, 0.0, 8, 100))  # 7 epochs are done
    assert both == pytest.approx(0.04 * 5**-0.25 * 5**-0.25)


def test_eden_of_a_fine_tuning_begins_at_the_top():
    config = make(OptimConfig, base_lr=0.005, schedule="eden", warmup_start=1.0)
    assert learning_rate(config, TrainingProgress(0, 0.0, 1, 100)) == pytest.approx(0.005)
    with pytest.raises(ValueError, match="--warmup-start"):
        make(OptimConfig, schedule="eden", warmup_start=1.5)
