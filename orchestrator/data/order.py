"""Which sample when, and on which rank: pure functions of seed, epoch, batch size, rank and world size.

The global order never depends on the number of ranks. Nothing is dropped, and nothing is repeated but
filler of weight 0, which keeps the ranks in step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Part = tuple[NDArray[np.int64], NDArray[np.float32]]  #: indices and weights (1 counts, 0 filler) of one rank


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The permutation of 0..n-1 for this epoch."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(n).astype(np.int64)


def epoch_part(n: int, seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    """Epoch ``epoch`` (1-based) of ``samples`` each: the next ones of an endless row of whole permutations.

    0 samples means n, one permutation an epoch.
    """
    count = samples or n
    start = (epoch - 1) * count
    first, last = start // n, (start + count - 1) // n
    row = np.concatenate([epoch_order(n, seed, number + 1) for number in range(first, last + 1)])
    return row[start - first * n :][:count]


def rank_batches(order: NDArray[np.int64], batch: int, rank: int, world: int) -> list[Part]:
    """This rank's part of every global batch of ``batch`` samples (the last may be smaller).

    Each global batch of m samples is cut into ``world`` contiguous parts of ceil(m / world); where that
    does not divide, the tail is filled with the batch's first sample at weight 0. The entries of weight 1
    of all ranks, in rank order, are the global batch.
    """
    _check(batch, rank, world)
    parts: list[Part] = []
    for start in range(0, len(order), batch):
        whole = np.asarray(order[start : start + batch], dtype=np.int64)
        length = -(-len(whole) // world)
        mine = whole[rank * length : (rank + 1) * length]
        indices = np.full(length, whole[0], dtype=np.int64)
        indices[: len(mine)] = mine
        weights = np.zeros(length, dtype=np.float32)
        weights[: len(mine)] = 1
        parts.append((indices, weights))
    return parts


def eval_batches(n: int, batch: int, rank: int, world: int) -> list[Part]:
    """Whole batches of rows 0..n-1 in order, dealt round robin.

    What shares a batch does not depend on ``world``, so neither do the predictions. Ranks left without a
    batch in the last round repeat the last one at weight 0: every rank has equally many.
    """
    _check(batch, rank, world)
    whole = [np.arange(s, min(s + batch, n), dtype=np.int64) for s in range(0, n, batch)]
    parts: list[Part] = []
    for turn in range(-(-len(whole) // world)):
        number = turn * world + rank
        indices = whole[min(number, len(whole) - 1)]
        parts.append((indices, np.full(len(indices), number < len(whole), dtype=np.float32)))
    return parts


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """63 bits for whatever is random about one sample in one epoch, on whichever rank it is."""
    state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return int(state[0]) >> 1


def _check(batch: int, rank: int, world: int) -> None:
    if batch < 1 or not 0 <= rank < world:
        raise ValueError(f"no rank {rank} of {world} with batches of {batch}")
