"""Optuna's TPE, which also learns from other studies and asks both ways of looking at a space by turns.

Multivariate TPE sees which choices belong together, but of some ten dimensions it hits the good range of none for
long; TPE a dimension at a time finds those soon and sees nothing else. ``docs/search.md`` has the figures.
"""

from __future__ import annotations

import bisect
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

SEEN, BEST = 250, 50


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
        self._memory: _Memory | None = None

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
        if self._memory is None or self._memory.study is not study:
            self._memory = _Memory(study)
        return self._memory.look(trial.number)

    def _build_parzen_estimator(
        self, study: Study, search_space: dict[str, BaseDistribution], trials: list[FrozenTrial], handle_below: bool
    ) -> Any:
        others = self._good if handle_below else self._bad
        return super()._build_parzen_estimator(study, search_space, [*others, *trials], handle_below)


class _Memory:
    """The trials of a study that its suggestions look at, kept up to date without a look at all of them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.trials: list[FrozenTrial] = []  #: by number
        self._number = -1  #: of the trial that was suggested last
        self._open: list[int] = []
        self._closed: list[FrozenTrial] = []
        self._best: list[tuple[float, int, FrozenTrial]] = []
        self._sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
        self._all = len(study.directions) > 1  # there the best are a front, of any size

    def look(self, number: int) -> _Memory:
        """As things stand when trial ``number`` is suggested; what waits for its turn is left out."""
        if number == self._number:
            return self
        storage, study = self.study._storage, self.study._study_id
        numbers = [*self._open, *range(self._number + 1, number + 1)]
        self._number, self._open, there = max(number, self._number), [], []
        for one in numbers:
            trial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study, one))
            if trial.state.is_finished():
                self._close(trial)
            else:
                self._open.append(one)
                there.append(trial)
        few = {trial.number: trial for trial in [*self._closed, *(trial for *_, trial in self._best), *there]}
        self.trials = [few[one] for one in sorted(few)]
        return self

    def _close(self, trial: FrozenTrial) -> None:
        bisect.insort(self._closed, trial, key=lambda one: one.number)
        if self._all:
            return
        del self._closed[: max(0, len(self._closed) - (SEEN - BEST))]
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            bisect.insort(self._best, (self._sign * trial.value, trial.number, trial), key=lambda one: one[:2])
            del self._best[BEST:]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self.trials if states is None or trial.state in states]


def _as_trial(lesson: Lesson, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    there = {name: distributions[name] for name in lesson.params if name in distributions}
    params = {name: lesson.params[name] for name in there}
    return create_trial(params=params, distributions=there, value=0.0)
