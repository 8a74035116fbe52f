"""Learning rates at known points."""

import pytest

from rnnt.optim.config import OptimConfig
from rnnt.optim.schedule import learning_rate


@pytest.mark.parametrize(
    "schedule, progress, expected",
    [("constant", 0.9, 1.0), ("linear", 0.5, 0.55), ("cosine", 0.5, 0.55), ("cosine", 1.0, 0.1)],
)
def test_after_the_warm_up(schedule, progress, expected):
    config = OptimConfig(base_lr=1.0, schedule=schedule, warmup_steps=10, final_lr_scale=0.1)
    assert learning_rate(config, 1000, progress) == pytest.approx(expected)


def test_warm_up_rises_to_the_top():
    config = OptimConfig(base_lr=2.0, schedule="constant", warmup_steps=4)
    assert [learning_rate(config, s, 0.0) for s in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
