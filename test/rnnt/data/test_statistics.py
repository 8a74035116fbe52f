import numpy as np
import pytest

from rnnt.data.statistics import STD_FLOOR, FeatureStatistics, duration_table, plot_durations


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


def test_durations_as_text_and_picture(tmp_path):
    durations = {"train": [1.0, 2.0, 3.0], "test-other": [], "dev": [3600.0]}
    lines = duration_table(durations)
    assert len(lines) == 5
    assert lines[2].split()[:3] == ["train", "3", "0.00"] and lines[2].split()[-1] == "3.00"
    assert lines[4].split()[:3] == ["dev", "1", "1.00"]
    plot_durations(durations, tmp_path / "durations.png")
    assert (tmp_path / "durations.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
