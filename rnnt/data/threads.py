"""Threads for work that waits for the disk."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

AHEAD = 16  # items a thread


def map_in_threads(function, items, num_threads):
    """`map(function, items)` by threads, in order; of `items`, few are taken before their results are wanted."""
    with ThreadPoolExecutor(num_threads) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
