"""The time left that a sweep tells is right within a factor of two once the first trials are over."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.asha import asha
from orchestrator.results import trial_name
from orchestrator.rungs import FIRST, grace, rungs
from orchestrator.space import TRIAL
from orchestrator.time_left import TimeLeft

EPOCH, BEGIN, END = 10.0, 4.0, 2.0


@dataclass(frozen=True)
class Moment:
    """A trial of a sweep has ended."""

    now: float
    told: float  #: the time left, as it was told
    over: int  #: trials
    to_end: int
    done: int  #: epochs
    skipped: int


class Sweep:
    """A simulated sweep, with ASHA itself: trials of unlike speed and worth, the first ones slow to begin."""

    def __init__(self, seed: int, trials: int, epochs: int, at_once: int, slow: float = 20.0, spread: float = 0.2):
        self.draw = random.Random(seed)
        self.trials, self.epochs, self.at_once, self.slow, self.spread = trials, epochs, at_once, slow, spread
        self.left = TimeLeft(trials, epochs, at_once, 0.0)
        self.asha = asha("max", epochs)
        if self.asha:
            self.asha.set_search_properties("best", "max")

    def moments(self) -> Iterator[Moment]:
        """The ends of trials, in order."""
        number, begun, queue, ends, reached = count(), count(), [], dict[str, int](), dict[str, int]()

        def begin(now: float) -> None:
            if (trial := next(begun)) < self.trials:
                delay = BEGIN * self._unlike() + (self.slow if trial < self.at_once else 0)
                pace, worth = EPOCH * self._unlike(), self.draw.random()
                heapq.heappush(queue, (now + delay + pace, next(number), f"{trial:03d}", 1, pace, worth))

        for _ in range(self.at_once):
            begin(0.0)
        while queue:
            now, _, name, epoch, pace, worth = heapq.heappop(queue)
            if epoch:
                self.left.epoch(name, epoch, pace, now)
                reached[name] = epoch
                last = epoch == self.epochs or self._cuts(name, epoch, worth)
                rest = (0, pace, worth) if last else (epoch + 1, pace, worth)
                heapq.heappush(queue, (now + (END if last else pace), next(number), name, *rest))
            else:
                ends[name] = reached[name]
                self.left.ended(name, "completed" if reached[name] == self.epochs else "pruned", now)
                begin(now)
                skipped = sum(self.epochs - count for count in ends.values())
                told = self.left.seconds(now)
                assert told is not None
                yield Moment(now, told, len(ends), self.trials - len(ends), sum(reached.values()), skipped)

    def _unlike(self) -> float:
        return self.draw.lognormvariate(0, self.spread)

    def _cuts(self, name: str, epoch: int, worth: float) -> bool:
        if self.asha is None:
            return False
        trial: Any = SimpleNamespace(trial_id=name, config={TRIAL: name})
        if epoch == 1:
            self.asha.on_trial_add(SimpleNamespace(), trial)
        best = worth * (1 - 0.5**epoch) + self.draw.gauss(0, 0.02)
        result = {"epoch": epoch, "best": best, "training_iteration": epoch}
        return self.asha.on_trial_result(SimpleNamespace(), trial, result) == self.asha.STOP


def within(truth: float, told: float) -> bool:
    return truth / 2 <= told <= truth * 2


@pytest.mark.parametrize(
    ("trials", "epochs", "at_once", "share"), [(6, 6, 1, 0.9), (6, 6, 2, 0.8), (12, 6, 2, 0.85), (30, 9, 8, 0.85)]
)
def test_right_within_a_factor_of_two(trials: int, epochs: int, at_once: int, share: float) -> None:
    """Which trials ASHA will cut nobody knows, so it cannot be right at every moment, but at most of them.

    Moments between the end of the first trials and the beginning of the end, when one cut decides all.
    """
    right = plainly = seen = 0
    for seed in range(12):
        moments = list(Sweep(seed, trials, epochs, at_once).moments())
        end = moments[-1].now
        for m in moments:
            if m.over > at_once and m.to_end > 1:
                seen += 1
                right += within(end - m.now, m.told)
                # every trial to come runs all its epochs, at the pace until now
                plainly += within(end - m.now, m.now / m.done * (trials * epochs - m.skipped - m.done))
    assert right >= share * seen, f"{right} of {seen}"
    assert right > plainly, f"{right}, against {plainly} of {seen} by the plain way"


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(1, 4), st.floats(0, 60))
def test_without_cuts_it_is_always_right(seed: int, trials: int, at_once: int, slow: float) -> None:
    """Two epochs are too few for ASHA."""
    moments = list(Sweep(seed, trials, 2, min(at_once, trials), slow, spread=0.05).moments())
    end = moments[-1].now
    # once a trial that did not begin with the sweep has told how long a beginning takes
    later = [m for m in moments if m.over > 2 * at_once and end - m.now > END]
    assert all(within(end - m.now, m.told) for m in later)


def test_nothing_is_known_before_the_first_epoch_and_nothing_left_at_the_end() -> None:
    left = TimeLeft(2, 2, 1, 0.0)
    assert left.seconds(5.0) is None
    left.epoch("000", 1, 4.0, 10.0)
    assert left.seconds(10.0) == pytest.approx(4 + (6 + 2 * 4))
    assert left.seconds(12.0) == pytest.approx(2 + (6 + 2 * 4)), "the clock goes on between two epochs"
    for now, trial, epoch in ((14.0, "000", 2), (24.0, "001", 1), (28.0, "001", 2)):
        left.epoch(trial, epoch, 4.0, now)
        if epoch == 2:
            left.ended(trial, "completed", now)
    assert left.seconds(28.0) == 0


def test_a_trial_that_failed_before_its_first_epoch_is_over() -> None:
    left = TimeLeft(3, 2, 1, 0.0)
    left.ended("000", "failed", 3.0)
    left.epoch("001", 1, 4.0, 8.0)
    assert left.seconds(8.0) == pytest.approx(4 + (1 + 2 * 4))


def test_patience_that_ends_trials_early_is_learned() -> None:
    left = TimeLeft(2, 100, 1, 0.0, before=[("completed", 10)] * 3)
    left.epoch("000", 1, 1.0, 1.0)
    assert left.seconds(1.0) == pytest.approx(9 + 10, rel=0.5)


@given(st.integers(1, 200))
def test_rungs_are_ashas(epochs: int) -> None:
    made = asha("max", epochs)
    assert (made is None) is (rungs(epochs) == [])
    if made is not None:
        (bracket,) = made._brackets
        assert sorted(rung for rung, _ in bracket._rungs if rung < epochs) == rungs(epochs)
        assert rungs(epochs)[0] == grace(epochs)
    assert trial_name(0) == FIRST
