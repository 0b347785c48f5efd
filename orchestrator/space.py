"""A method's search space as Optuna and Tune take it: SET fixes a dimension, the defaults are tried first."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial

from orchestrator.config import Settings
from orchestrator.errors import UserError

TRIAL = "choice.trial"  #: what a trial is told of its own name, among its choices


def chosen_settings(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among a trial's choices; ``choice.*`` only steered the space (or names the trial)."""
    return {name: value for name, value in choices.items() if not name.startswith("choice.")}


class Space:
    """Define-by-run function of a method. A module-level class, so that Tune can save it.

    Args:
        settings: what the search starts from.
        fixed: dotted settings given by the user; they are no dimensions of the search.
    """

    def __init__(self, settings: Settings, fixed: Mapping[str, Any]) -> None:
        self.method, self.settings, self.fixed = settings.method, settings.flat(), dict(fixed)
        if importlib.util.find_spec(f"search_spaces.{self.method}") is None:
            raise UserError(f"search_spaces/{self.method}.py is missing; write it, or use `samsweep train`")

    def __call__(self, trial: Any) -> dict[str, Any]:
        function = importlib.import_module(f"search_spaces.{self.method}").space
        constants = function(_WithFixed(trial, self.fixed), self.settings) or {}
        return {k: v for k, v in constants.items() if k not in self.fixed}

    def default_point(self) -> dict[str, Any] | None:
        """The defaults as a point of this space, or None where they lie outside it."""
        return self.point_of({})

    def point_of(self, choices: Mapping[str, Any]) -> dict[str, Any] | None:
        """The point where dimensions are as ``choices`` say and the others have their defaults; None if outside.

        ``choices`` that are no dimension there count for nothing.
        """
        recorder = _Defaults({**self.settings, **choices})
        self(recorder)
        return recorder.point if recorder.inside else None

    def first_points(self) -> list[dict[str, Any]]:
        """What to try before the sampler has a say: every point of a finite space, else the defaults."""
        default = self.default_point()
        return self.all_points() or ([default] if default is not None else [])

    def distributions(self, points: Iterable[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
        """The dimensions that are asked for at the defaults or at any of some points, as Optuna has them."""
        found: dict[str, BaseDistribution] = {}
        for point in ({}, *points):
            trial = FixedTrial({**self.settings, **self._steering(point), **point})
            self(trial)
            found |= trial.distributions
        return found

    def _steering(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults of what only steers the function."""
        recorder = _Defaults({**self.settings, **point})
        self(recorder)
        return {name: value for name, value in recorder.point.items() if name not in self.settings}

    def describe(self) -> list[str]:
        """Its dimensions, as they are asked for when everything has its default: name, kind, range."""
        recorder = _Defaults(self.settings)
        self(recorder)
        return sorted(recorder.dimensions)

    def all_points(self) -> list[dict[str, Any]] | None:
        """Every point of a space of categories alone; None where it is not finite (or has too many)."""
        points: list[dict[str, Any]] = []
        waiting: list[dict[str, Any]] = [{}]
        while waiting:
            script = _Script(waiting.pop())
            self(script)
            if script.endless or len(points) + len(waiting) > MOST_POINTS:
                return None
            if script.branches:
                waiting += reversed(script.branches)
            else:
                points.append(script.point)
        return points


MOST_POINTS = 64  #: beyond so many, a space counts as endless


class _WithFixed:
    """An Optuna trial that answers a fixed name itself, so that it never becomes a dimension."""

    def __init__(self, trial: Any, fixed: Mapping[str, Any]) -> None:
        self._trial, self._fixed = trial, fixed

    def suggest_float(self, name: str, low: float, high: float, **kw: Any) -> float:
        return self._fixed[name] if name in self._fixed else self._trial.suggest_float(name, low, high, **kw)

    def suggest_int(self, name: str, low: int, high: int, **kw: Any) -> int:
        return self._fixed[name] if name in self._fixed else self._trial.suggest_int(name, low, high, **kw)

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self._fixed[name] if name in self._fixed else self._trial.suggest_categorical(name, choices)


class _Defaults:
    """Answers every suggestion with the default setting, or the first choice where there is none."""

    def __init__(self, flat: Mapping[str, Any]) -> None:
        self.flat, self.point, self.inside = flat, dict[str, Any](), True
        self.dimensions: list[str] = []

    def suggest_float(self, name: str, low: float, high: float, **kw: Any) -> float:
        how = "".join(f" {key}={value}" for key, value in sorted(kw.items()))
        self.dimensions.append(f"{name} in [{low}, {high}]{how}")
        value = self.flat[name]
        return self._take(name, isinstance(value, int | float) and low <= value <= high)

    def suggest_int(self, name: str, low: int, high: int, **kw: Any) -> int:
        return int(self.suggest_float(name, low, high, **kw))

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        self.dimensions.append(f"{name} of {list(choices)}")
        if name not in self.flat:
            self.point[name] = choices[0]
            return choices[0]
        return self._take(name, self.flat[name] in choices)

    def _take(self, name: str, inside: bool) -> Any:
        self.inside = self.inside and inside
        self.point[name] = self.flat[name]
        return self.flat[name]


class _Script:
    """Answers as it was told; at the first question beyond that, notes one branch a choice."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told, self.point = told, dict[str, Any]()
        self.branches: list[dict[str, Any]] = []
        self.endless = False

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        if name not in self.told and not self.branches:
            self.branches = [{**self.told, name: choice} for choice in choices]
        self.point[name] = self.told.get(name, choices[0])
        return self.point[name]

    def suggest_float(self, name: str, low: float, high: float, **kw: Any) -> float:
        self.endless = True
        return low

    suggest_int = suggest_float
