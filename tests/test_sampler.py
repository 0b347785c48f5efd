"""TPE learns from other studies' trials, looks at the space in two ways by turns, and is what its seed says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from orchestrator import sampler as sampling
from orchestrator.sampler import Lesson, Tpe

X, Y = FloatDistribution(0.0, 1.0), FloatDistribution(0.0, 1.0)
#: Elsewhere x was good near 0.9 and bad below.
LESSONS = [Lesson("other", "000", {"x": 0.9}, good=True), Lesson("other", "001", {"x": 0.88}, good=True)] + [
    Lesson("other", f"{i:03d}", {"x": i / 40}, good=False) for i in range(2, 20)
]


def study(lessons: Sequence[Lesson] = (), seed: int = 0, startup: int = 1) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = Tpe(seed, startup, lessons, {"x": X})
    return optuna.create_study(direction="maximize", sampler=sampler)


def asked(of: optuna.Study, count: int, value: float = 0.5) -> list[dict[str, Any]]:
    """The points of ``count`` trials, which all come to the same."""
    points = []
    for _ in range(count):
        trial = of.ask({"x": X, "y": Y})
        of.tell(trial, value)
        points.append(trial.params)
    return points


def test_what_was_good_elsewhere_is_tried_from_the_first_suggestion_on() -> None:
    naive, taught = (
        [point["x"] for seed in range(20) for point in asked(study(lessons, seed), 3)[1:]] for lessons in ([], LESSONS)
    )
    assert sum(x > 0.8 for x in taught) > 2 * sum(x > 0.8 for x in naive)


def test_own_results_outweigh_what_was_learned() -> None:
    own = study(LESSONS)
    for i in range(40):
        own.add_trial(
            optuna.trial.create_trial(
                params={"x": i / 40, "y": 0.5}, distributions={"x": X, "y": Y}, value=-abs(i / 40 - 0.2)
            )
        )
    near = [point["x"] for point in asked(own, 12, -1.0)]
    assert sum(abs(x - 0.2) < 0.15 for x in near) > sum(x > 0.8 for x in near)


def test_lessons_may_speak_of_some_dimensions_or_none() -> None:
    asked(study([Lesson("other", "000", {"z": 3.0}, good=True), *LESSONS[:3]]), 6)


def test_even_trials_see_all_dimensions_together_and_odd_ones_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    together: list[tuple[int, int]] = []
    sample = optuna.samplers.TPESampler._sample

    def spy(self: Any, of: optuna.Study, trial: FrozenTrial, space: dict[str, Any], *rest: Any, **more: Any) -> Any:
        together.append((trial.number, len(space)))
        return sample(self, of, trial, space, *rest, **more)

    monkeypatch.setattr(optuna.samplers.TPESampler, "_sample", spy)
    asked(study(), 6)
    assert together == [(1, 1), (1, 1), (2, 2), (3, 1), (3, 1), (4, 2), (5, 1), (5, 1)]


def test_the_seed_decides() -> None:
    one, same, other = (asked(study(LESSONS, seed), 6) for seed in (1, 1, 2))
    assert one == same != other


def test_what_a_long_study_is_asked_for_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many trials the best, the newest and the open ones are looked at, in the order of their numbers."""
    monkeypatch.setattr(sampling, "SEEN", 20)
    monkeypatch.setattr(sampling, "BEST", 5)
    tpe = Tpe(0, 2)
    study = optuna.create_study(direction="maximize", sampler=tpe)
    for number in range(60):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 0, 1)
        if number % 10 != 7:
            study.tell(trial, 1.0 - number / 100 if number % 3 else number / 100)
        assert tpe._memory is not None
        seen = [one.number for one in tpe._memory.trials]
        assert seen == sorted(seen) and len(seen) == len(set(seen))
        done = [t for t in study.get_trials(deepcopy=False)[:number] if t.state.is_finished()]
        if len(done) <= 15:
            assert {t.number for t in done} <= set(seen)
        best = sorted(done, key=lambda t: (-(t.value or 0), t.number))[:5]
        newest = done[-15:]
        running = {t.number for t in study.get_trials(deepcopy=False)[:number] if not t.state.is_finished()}
        assert set(seen) == {t.number for t in [*best, *newest]} | running | {number}
