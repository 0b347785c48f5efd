"""Fetching shards from a store before their rows are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from orchestrator.data.reader import DataSplit

FETCHERS = 4  #: shards that are under way at once: one connection rarely fills a network


@contextmanager
def fetched_ahead(split: DataSplit, rows: Sequence[int]) -> Iterator[None]:
    """While the block runs, the shards that ``rows`` lie in are fetched, in the order of their first use.

    Whoever reads a row waits for its shard alone. What goes wrong here goes wrong again, and is said, when the
    shard is read. Leaving the block cancels what has not begun.
    """
    missing = split.shards_to_fetch(rows)
    if not missing:
        yield
        return
    pool = ThreadPoolExecutor(min(FETCHERS, len(missing)), thread_name_prefix="samsweep-fetch")
    try:
        for number in missing:
            pool.submit(_fetch, split, number)
        yield
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _fetch(split: DataSplit, number: int) -> None:
    with contextlib.suppress(Exception):
        split.open_shard(number)
