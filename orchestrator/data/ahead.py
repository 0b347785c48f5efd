"""A map that works ahead of its consumer in a few threads, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int, window: int) -> Generator[R, None, None]:
    """Yield ``function(item)`` in order, with at most ``window`` results begun or waiting.

    What the function raises is raised here, at that item's turn. Closing the iterator early, or dropping
    it, cancels what has not begun and waits for the rest, so that no thread stays behind.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="samsweep-ahead")
    waiting: deque[Future[R]] = deque()
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, max(1, window)))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
