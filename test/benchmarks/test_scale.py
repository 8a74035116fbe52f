"""docs/scale.md has the table that benchmarks/scale.py computes, and each rate is what its page says."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scale(load_file):
    return load_file(ROOT / "benchmarks" / "scale.py", "scale")


def test_the_page_has_the_table(scale):
    assert scale.table() in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_rates_are_those_of_their_pages(scale):
    for name, rate in scale.RATES.items():
        page = " ".join((ROOT / rate.page).read_text(encoding="utf-8").split())
        assert rate.words in page, name


def test_table_by_hand(scale):
    found = scale.column(1000, 8)
    assert found["audio as FLAC"] == "63 GB" and found["utterances"] == "0.29 million"
    assert found["an epoch"] == "89 s"  # 1000 h / (8 x 1.4 h/s)
    assert scale.time_of(7200) == "2.0 h" and scale.time_of(119) == "119 s" and scale.size(0.5) == "500 MB"
