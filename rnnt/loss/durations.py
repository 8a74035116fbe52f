"""Which durations a token-and-duration transducer may have. Free of torch."""

from collections.abc import Sequence


def check_durations(durations: Sequence[int]) -> None:
    """Check the durations of a transducer.

    Raises:
        ValueError: one is negative or there twice, or none is above 0.
    """
    if not durations or min(durations) < 0 or max(durations) == 0 or len(set(durations)) != len(durations):
        text = ",".join(map(str, durations))
        raise ValueError(f"durations must be different numbers of frames, at least one of them above 0, not {text!r}")
