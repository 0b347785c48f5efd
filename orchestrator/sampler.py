"""Optuna's TPE, which also learns from other studies and asks both ways of looking at a space by turns.

Multivariate TPE sees which choices belong together, but of some ten dimensions it hits the good range of none for
long; TPE a dimension at a time finds those soon and sees nothing else. ``docs/search.md`` has the figures.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

SEEN, BEST = 500, 100


@dataclass(frozen=True)
class Lesson:
    """A trial of another study: where it was, and whether that was among the best there. Values are not compared."""

    run: str
    trial: str
    params: dict[str, Any]
    good: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Tpe(TPESampler):
    """TPE with constant liar; even trials by all dimensions together, odd ones by each alone.

    What other studies found good and bad stands beside this study's own better and worse trials from the first
    suggestion on; as the older ones they count less and less once there are more than 25 of a kind.

    Of a study with more than ``SEEN`` trials it looks at the ``BEST`` and the newest ones, and those that run: what a
    suggestion costs does not grow on with the study. (TPE takes 25 trials for good at most, and the older a bad one the
    less it counts.)

    Args:
        distributions: of all dimensions, by name, that ``lessons`` may speak of.
    """

    def __init__(
        self,
        seed: int,
        startup: int,
        lessons: Sequence[Lesson] = (),
        distributions: Mapping[str, BaseDistribution] | None = None,
    ) -> None:
        super().__init__(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,  # what runs beside counts as bad, so that no two try the same
            n_startup_trials=startup,
        )
        known = distributions or {}
        self._good = [_as_trial(one, known) for one in lessons if one.good]
        self._bad = [_as_trial(one, known) for one in lessons if not one.good]
        self._seen: _Glance | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if trial.number % 2 else super().infer_relative_search_space(self._glance(study, trial), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {} if trial.number % 2 else super().sample_relative(self._glance(study, trial), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(self._glance(study, trial), trial, param_name, param_distribution)

    def _glance(self, study: Study, trial: FrozenTrial) -> Any:
        """The study as one suggestion sees it: it is looked at once, whatever the number of dimensions."""
        if self._seen is None or self._seen.number != trial.number:
            self._seen = _Glance(study, trial.number)
        return self._seen

    def _build_parzen_estimator(
        self, study: Study, search_space: dict[str, BaseDistribution], trials: list[FrozenTrial], handle_below: bool
    ) -> Any:
        others = self._good if handle_below else self._bad
        return super()._build_parzen_estimator(study, search_space, [*others, *trials], handle_below)


class _Glance:
    """A study, of whose trials some are left out where there are many."""

    def __init__(self, study: Study, number: int) -> None:
        self.study, self.number = study, number
        trials = study._get_trials(deepcopy=False, use_cache=False)
        self.trials = trials if len(trials) <= SEEN or len(study.directions) > 1 else _few(trials, study.direction)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self.trials if states is None or trial.state in states]


def _few(trials: Sequence[FrozenTrial], direction: StudyDirection) -> list[FrozenTrial]:
    """All that are open, the best, and the newest, in their order."""
    closed = [trial for trial in trials if trial.state.is_finished()]
    sign = 1 if direction == StudyDirection.MAXIMIZE else -1
    done = [trial for trial in closed if trial.state == TrialState.COMPLETE]
    best = {trial.number for trial in heapq.nlargest(BEST, done, key=lambda trial: sign * (trial.value or 0.0))}
    newest = {trial.number for trial in closed[-(SEEN - BEST) :]}
    return [t for t in trials if t.number in best or t.number in newest or not t.state.is_finished()]


def _as_trial(lesson: Lesson, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    there = {name: distributions[name] for name in lesson.params if name in distributions}
    params = {name: lesson.params[name] for name in there}
    return create_trial(params=params, distributions=there, value=0.0)
