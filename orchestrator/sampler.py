"""Optuna's TPE, which also learns from other studies and asks both ways of looking at a space by turns.

Multivariate TPE sees which choices belong together, but of some ten dimensions it hits the good range of none for
long; TPE a dimension at a time finds those soon and sees nothing else. ``docs/search.md`` has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, create_trial


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

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if trial.number % 2 else super().infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {} if trial.number % 2 else super().sample_relative(study, trial, search_space)

    def _build_parzen_estimator(
        self, study: Study, search_space: dict[str, BaseDistribution], trials: list[FrozenTrial], handle_below: bool
    ) -> Any:
        others = self._good if handle_below else self._bad
        return super()._build_parzen_estimator(study, search_space, [*others, *trials], handle_below)


def _as_trial(lesson: Lesson, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    there = {name: distributions[name] for name in lesson.params if name in distributions}
    params = {name: lesson.params[name] for name in there}
    return create_trial(params=params, distributions=there, value=0.0)
