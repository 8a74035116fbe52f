import time

import pytest

from rnnt.prepare.threads import AHEAD, map_in_threads


def test_results_come_in_order_and_few_items_are_taken_ahead():
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    def slow_first(i):
        time.sleep(0.02 if i % 10 == 0 else 0)
        return -i

    results = map_in_threads(slow_first, items(), 3)
    assert next(results) == 0 and len(taken) <= 3 * AHEAD
    assert list(results) == [-i for i in range(1, 1000)]


def test_an_error_is_raised_and_ends_the_work():
    done = []

    def work(i):
        if i == 5:
            raise ValueError("five")
        done.append(i)
        return i

    with pytest.raises(ValueError, match="five"):
        list(map_in_threads(work, range(10000), 2))
    assert len(done) < 100
