"""How long a sweep will still take, by how long its epochs, its trials' beginnings and their ends took."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.rungs import FIRST, rungs

DRAWS = 40  #: ways in which ASHA may decide


@dataclass
class _Trial:
    """A trial that has told of an epoch; times in seconds, of one clock."""

    start: float  #: when its place was free
    opening: bool  #: whether it began with the sweep, when everything starts more slowly
    told: float  #: when it told of its last epoch
    delay: float  #: from its start to its first epoch
    epochs: int = 0
    end: float | None = None


@dataclass(frozen=True)
class _Pace:
    """How trials go; in seconds where it says nothing else."""

    begin: float  #: from a free place to a trial's first epoch; of the first trials only while there are no others
    epoch: float
    end: float  #: from a trial's last epoch to its end
    passes: float  #: the share of trials that pass a rung: a half, until the sweep shows how many did
    last: float  #: the last epoch of a trial that is not cut; patience may end them all earlier


class TimeLeft:
    """Told of each epoch and each end, it says when the last trial will end.

    A trial takes some time to begin, some for each epoch, some to end. How many epochs it will have depends on
    ASHA, of which half are expected to pass a rung until the sweep itself shows better. Trials take the place
    that is free first.

    Args:
        trials: still to be run.
        epochs: of a whole trial.
        at_once: trials side by side.
        now: the time, in seconds.
        before: status and number of epochs of trials that ended in an earlier process.
    """

    def __init__(
        self, trials: int, epochs: int, at_once: int, now: float, before: Iterable[tuple[str, int]] = ()
    ) -> None:
        self.trials, self.epochs, self.rungs = trials, epochs, rungs(epochs)
        self._free = [now] * at_once  # since when the places are free that no known trial has
        self._trials: dict[str, _Trial] = {}
        self._seconds: list[float] = []  # of epochs
        self._at_once = at_once
        self._over = 0
        self._whole: list[int] = []  # epochs of trials that came to their own end
        self._passed = self._cut = 0
        for status, count in before:
            self._learn(status, count)

    def epoch(self, trial: str, epoch: int, seconds: float, now: float) -> None:
        """A trial has finished an epoch, which took so many seconds."""
        self._seconds.append(seconds)
        if trial not in self._trials:
            start = heapq.heappop(self._free) if self._free else now - seconds
            opening = len(self._trials) < self._at_once
            self._trials[trial] = _Trial(start, opening, now, max(0.0, now - start - seconds))
        self._trials[trial].epochs, self._trials[trial].told = epoch, now

    def ended(self, trial: str, status: str, now: float) -> None:
        """A trial is over."""
        self._over += 1
        if known := self._trials.get(trial):
            known.end = now
            if trial != FIRST:
                self._learn(status, known.epochs)
            elif status == "completed":
                self._whole.append(known.epochs)
        elif self._free:
            heapq.heappop(self._free)
        heapq.heappush(self._free, now)

    def seconds(self, now: float) -> float | None:
        """Until the last trial ends; None before any epoch is told.

        The number that is right within a factor of two for most of the ways in which ASHA may decide.
        """
        if not self._seconds:
            return None
        draw = random.Random(0)  # the same each time, or the number would flicker
        pace = self._pace()
        return _middle([self._one_way(draw, now, pace) for _ in range(DRAWS)])

    def _one_way(self, draw: random.Random, now: float, pace: _Pace) -> float:
        """Seconds until the last trial ends, as ASHA may decide."""
        running = [(name, trial) for name, trial in self._trials.items() if trial.end is None]
        places = [
            max(0.0, self._more_epochs(draw, pace, t.epochs, name == FIRST) * pace.epoch + pace.end - (now - t.told))
            for name, t in running
        ]
        to_come = max(0, self.trials - self._over - len(running))
        for since in sorted(self._free)[:to_come]:  # each has a trial that begins, and tells nothing yet
            rest = (self._more_epochs(draw, pace) - 1) * pace.epoch + pace.end
            places.append(rest + max(0.0, pace.begin + pace.epoch - (now - since)))
            to_come -= 1
        heapq.heapify(places)
        for _ in range(to_come):
            whole = pace.begin + self._more_epochs(draw, pace) * pace.epoch + pace.end
            heapq.heapreplace(places, places[0] + whole)
        return max(places, default=0.0)

    def _more_epochs(self, draw: random.Random, pace: _Pace, done: int = 0, spared: bool = False) -> float:
        """The epochs that a trial may have after ``done``; ``spared``: it is never cut."""
        for rung in self.rungs:
            if done < rung < pace.last and not spared and draw.random() > pace.passes:
                return rung - done
        return max(0.0, pace.last - done)

    def _pace(self) -> _Pace:
        """What the trials until now have shown."""
        delays = [trial.delay for trial in self._trials.values()]
        later = [trial.delay for trial in self._trials.values() if not trial.opening]
        ends = [trial.end - trial.told for trial in self._trials.values() if trial.end is not None]
        unended = [t.epochs for name, t in self._trials.items() if t.end is None and name != FIRST]
        passed = self._passed + sum(rung < epochs for epochs in unended for rung in self.rungs)
        return _Pace(
            begin=statistics.median(later or delays),
            epoch=statistics.median(self._seconds),
            end=statistics.median(ends) if ends else 0.0,
            passes=(passed + 1) / (passed + self._cut + 2),
            last=statistics.fmean(self._whole) if self._whole else self.epochs,
        )

    def _learn(self, status: str, epochs: int) -> None:
        if status in ("completed", "pruned"):
            self._passed += sum(rung < epochs for rung in self.rungs)
            self._cut += status == "pruned"
        if status == "completed":
            self._whole.append(epochs)


def _middle(values: list[float]) -> float:
    """What is right within a factor of two for most of the values: the middle, as ratios go, of where they crowd."""
    low = max(sorted(values), key=lambda low: sum(low <= value <= 4 * low for value in values))
    high = max(value for value in values if value <= 4 * low)
    return math.sqrt(low * high)
