"""ASHA knows what earlier processes of a sweep have done, and cuts no trial at an epoch that lies behind it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.asha import Asha, asha
from orchestrator.space import TRIAL
from orchestrator.study import Past

OVER = [
    Past("000", {1: 0.5, 2: 0.6, 3: 0.6}),
    Past("001", {1: 0.4, 2: 0.5, 3: 0.5}),
    Past("002", {1: 0.3, 2: 0.3}),
]


def scheduler(mode: str = "max", **known: Any) -> Asha:
    made = asha(mode, 3, **known)
    assert isinstance(made, Asha)
    made.set_search_properties("best", mode)
    return made


def decide(made: Asha, name: str, epoch: int, best: float) -> str:
    trial: Any = SimpleNamespace(trial_id=f"tune-{name}", config={TRIAL: name})
    if trial.trial_id not in made._trial_info:
        made.on_trial_add(SimpleNamespace(), trial)
    return made.on_trial_result(SimpleNamespace(), trial, {"epoch": epoch, "best": best, "training_iteration": 1})


@pytest.mark.parametrize("sign", [1, -1])
def test_earlier_trials_fill_the_rungs(sign: int) -> None:
    mode = "max" if sign == 1 else "min"
    assert decide(scheduler(mode), "003", 1, sign * 0.1) == Asha.CONTINUE, "nothing to be held against"
    over = [Past(past.trial, {epoch: sign * value for epoch, value in past.values.items()}) for past in OVER]
    assert decide(scheduler(mode, over=over), "003", 1, sign * 0.1) == Asha.STOP
    assert decide(scheduler(mode, over=over), "003", 1, sign * 0.45) == Asha.CONTINUE


def test_the_same_as_if_one_process_had_seen_it_all() -> None:
    one = scheduler()
    for past in OVER:
        for epoch, value in past.values.items():
            decide(one, past.trial, epoch, value)
    assert [list(rung.items()) for rung in _rungs(one)] == [list(rung.items()) for rung in _rungs(scheduler(over=OVER))]


def test_what_lies_behind_a_trial_does_not_cut_it() -> None:
    made = scheduler(over=OVER, begun=[Past("003", {1: 0.1, 2: 0.1}), Past("004", {})])
    assert decide(made, "003", 1, 0.1) == Asha.CONTINUE
    assert decide(made, "003", 2, 0.1) == Asha.STOP, "its last known epoch may"
    assert decide(made, "004", 1, 0.1) == Asha.STOP


def test_the_first_trial_is_never_cut() -> None:
    assert decide(scheduler(over=[*OVER[1:], Past("003", {1: 0.2})]), "000", 1, 0.0) == Asha.CONTINUE


@pytest.mark.parametrize(("before", "decision"), [(0, Asha.CONTINUE), (2, Asha.CONTINUE), (3, Asha.STOP)])
def test_the_better_half_of_two_is_chance(before: int, decision: str) -> None:
    assert decide(scheduler(over=OVER[:before]), "003", 1, 0.1) == decision


def _rungs(made: Asha) -> list[dict[str, float]]:
    rungs = [recorded for bracket in made._brackets for _, recorded in bracket._rungs]
    return [{name.removeprefix("tune-"): value for name, value in rung.items()} for rung in rungs]
