"""Mean and spread over seeds, and Welch's test against SciPy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.noise import LEVEL, spread, welch, within_noise

VALUE = st.floats(-1e3, 1e3, allow_nan=False)
SEEDS = st.lists(VALUE, min_size=2, max_size=8)


@given(SEEDS, SEEDS)
def test_the_test_is_scipys(a: list[float], b: list[float]) -> None:
    assume(np.ptp(a) > 1e-6 and np.ptp(b) > 1e-6)
    wanted = stats.ttest_ind(a, b, equal_var=False).pvalue
    p = welch(spread(a), spread(b))
    assert p == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert within_noise(spread(a), spread(b)) == (p >= LEVEL)


@given(SEEDS, SEEDS)
def test_both_sides_are_alike(a: list[float], b: list[float]) -> None:
    p = welch(spread(a), spread(b))
    assert p is not None and 0 <= p <= 1
    assert p == pytest.approx(welch(spread(b), spread(a)))


@given(SEEDS)
def test_nobody_can_be_told_from_himself(a: list[float]) -> None:
    assert within_noise(spread(a), spread(a)) is True


@given(SEEDS, VALUE)
def test_one_seed_says_nothing(a: list[float], b: float) -> None:
    assert spread([b]).std is None and spread([b]).mean == b
    assert welch(spread(a), spread([b])) is None and within_noise(spread([b]), spread(a)) is None


@given(SEEDS)
def test_a_difference_far_beyond_the_spread_is_told(a: list[float]) -> None:
    one = spread(a)
    assert one.std is not None
    assume(one.std > 1e-9)
    assert within_noise(one, spread([x + 1e4 * one.std for x in a])) is False


def test_seeds_that_change_nothing() -> None:
    """As where nothing is trained: equal is equal, and any difference is real."""
    assert within_noise(spread([0.5, 0.5]), spread([0.5, 0.5, 0.5])) is True
    assert within_noise(spread([0.5, 0.5]), spread([0.6, 0.6])) is False
    assert within_noise(spread([0.5, 0.5]), spread([0.5, 0.7])) is True


@given(SEEDS)
def test_the_spread_is_numpys(a: list[float]) -> None:
    one = spread(a)
    assert one.n == len(a) and one.mean == pytest.approx(np.mean(a), abs=1e-9)
    assert one.std is not None and math.isclose(one.std, np.std(a, ddof=1), rel_tol=1e-6, abs_tol=1e-9)
