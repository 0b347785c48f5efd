"""What differences over seeds mean: mean and spread, and whether two means can be told apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import stdtr

LEVEL = 0.05  #: of the test: how often equal means are called different


@dataclass(frozen=True)
class Spread:
    """A metric over seeds."""

    n: int
    mean: float
    std: float | None  #: of the sample (n - 1); None of one seed


def spread(values: Iterable[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    found = list(values)
    return Spread(len(found), statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None)


def within_noise(a: Spread, b: Spread, level: float = LEVEL) -> bool | None:
    """Whether the difference of two means is one that seeds alone may make; None where nothing can be said."""
    p = welch(a, b)
    return None if p is None else p >= level


def welch(a: Spread, b: Spread) -> float | None:
    """The two-sided p of Welch's t-test; None with fewer than two seeds on a side."""
    if a.std is None or b.std is None:
        return None
    apart = abs(a.mean - b.mean)
    one, other = a.std**2 / a.n, b.std**2 / b.n
    error = math.sqrt(one + other)
    if error == 0:  # every seed gave the same, as where nothing is trained
        return 1.0 if apart == 0 else 0.0
    # divided by their sum first: squares of small variances would be zero
    share = (one / (one + other)) ** 2 / (a.n - 1) + (other / (one + other)) ** 2 / (b.n - 1)
    return float(2 * stdtr(1 / share, -apart / error))
