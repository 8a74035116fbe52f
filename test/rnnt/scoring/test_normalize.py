import pytest

from rnnt.scoring.normalize import STEPS, normalize


@pytest.mark.parametrize(
    "steps, expected",
    [
        ([], "Don't Stop-Me, \uff21\uff22 now!"),
        (["lower"], "don't stop-me, \uff41\uff42 now!"),
        (["nfkc"], "Don't Stop-Me, AB now!"),
        (["no-punctuation"], "Don't StopMe \uff21\uff22 now"),
        (["hyphen-to-space", "no-punctuation", "nfkc", "lower"], "don't stop me ab now"),
    ],
)
def test_steps_are_applied_in_order(steps, expected):
    assert normalize(" Don't  Stop-Me, \uff21\uff22 now!", steps) == expected


def test_every_step_keeps_plain_words():
    assert normalize("one two", list(STEPS)) == "one two"
