import numpy as np
import pytest

from rnnt.prepare.cmvn import STD_FLOOR, FeatureStatistics


def test_mean_and_std_over_all_frames():
    rng = np.random.default_rng(0)
    parts = [rng.normal([-15, 3, 1000], [2, 0.5, 3], (n, 3)).astype(np.float32) for n in (7, 1, 300)]
    statistics = FeatureStatistics()
    for x_TF in parts:
        statistics.add(x_TF)
    found, x_NF = statistics.to_dict(), np.concatenate(parts).astype(np.float64)
    assert found["frames"] == 308
    np.testing.assert_allclose(found["mean"], x_NF.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found["std"], x_NF.std(axis=0), rtol=1e-9)


def test_a_constant_bin_can_be_divided_by():
    statistics = FeatureStatistics()
    statistics.add(np.full((5, 2), -16.0, dtype=np.float32))
    assert statistics.to_dict() == {"mean": [-16.0, -16.0], "std": [STD_FLOOR, STD_FLOOR], "frames": 5}


def test_no_frames_is_an_error():
    with pytest.raises(ValueError, match="no frames"):
        FeatureStatistics().to_dict()
