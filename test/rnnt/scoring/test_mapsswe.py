import math

import pytest

from rnnt.scoring import score
from rnnt.scoring.mapsswe import error_slots, mapsswe, segment_differences


def alignments(ref, *hyps):
    return [score({"u": ref}, {"u": hyp}).alignments["u"] for hyp in hyps]


def test_error_slots():
    [alignment] = alignments("a b c", "x a y c z w")
    assert error_slots(alignment).tolist() == [1, 0, 0, 1, 0, 0, 2]


@pytest.mark.parametrize(
    "a, b, differences",
    [
        ("a b c d e f g h", "a b c d e f g h", []),
        ("x b c d e f g h", "a b c d e f g h", [-1]),
        ("x b c y e f g h", "a b c d e f g h", [-1, -1]),  # two right words between: two segments
        ("x b y d e f g h", "a b c d e f g h", [-2]),  # one right word: one segment
        ("x b c d e f g h", "a b y d e f g h", [0]),  # an error of the other system keeps the segment open
        ("a b c d e f g h i j", "a b c d e f g", [-1]),
        ("a b x c d e f g h", "a b c d e f g h", [-1]),
    ],
)
def test_segments(a, b, differences):
    assert segment_differences(*alignments("a b c d e f g h", a, b)) == differences


def test_statistic_by_hand():
    """Differences -1, -1, 0, -1, 1 (five utterances): mean -0.4, standard deviation 0.894, Z -1.0."""
    refs = {str(i): "a b c" for i in range(5)}
    a = score(refs, {"0": "x b c", "1": "x b c", "2": "x b c", "3": "x b c", "4": "a b c"})
    b = score(refs, {"0": "a b c", "1": "a b c", "2": "a b x", "3": "a b c", "4": "a x c"})
    result = mapsswe(a, b)
    assert result.segments == 5 and result.mean == pytest.approx(-0.4)
    assert result.z == pytest.approx(-1.0) and result.p == pytest.approx(math.erfc(1 / math.sqrt(2)))


def test_equal_systems_differ_by_nothing():
    report = score({"u": "a b", "v": "c"}, {"u": "a", "v": "d"})
    assert mapsswe(report, report).p == 1.0
    assert mapsswe(score({}, {}), score({}, {})).segments == 0
