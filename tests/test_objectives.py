"""Several objectives: what may be asked for, what a trial cost, and who is on the Pareto front."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.objectives import costs, pareto_front, parse
from orchestrator.results import Row

BOTH = ("quality", "seconds", "trained_parameters")


def row(trial: str, best: float | None, seconds: float, parameters: int, status: str = "completed") -> Row:
    """A trial of two epochs that took ``seconds`` in all."""
    epochs: list[dict[str, Any]] = [
        {"seconds": seconds / 4, "eval_seconds": seconds / 4},
        {"seconds": seconds / 2, "eval_seconds": None, "best": best, "trained_parameters": parameters},
    ]
    about = dict.fromkeys(("run", "method", "dataset", "task", "backbone", "objective", "data_fingerprint"), "x")
    return Row(**about, trial=trial, status=status, epochs=epochs, stand_in=False, settings={}, finished="2026-01-01")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("quality", ("quality",)),
        ("seconds, quality", ("quality", "seconds")),
        ("quality,trained_parameters,seconds,seconds", ("quality", "trained_parameters", "seconds")),
    ],
)
def test_quality_comes_first(text: str, names: tuple[str, ...]) -> None:
    assert parse(text) == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("quality,second", r"unknown objective 'second' \(nearest: seconds\)"),
        ("seconds", "OBJECTIVES=seconds: without quality .* add it: quality,seconds"),
        ("", "unknown objective ''"),
    ],
)
def test_what_makes_no_sense_is_said(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(text)


def test_what_a_trial_cost() -> None:
    assert costs(row("000", 0.5, 8.0, 10), BOTH) == (8.0, 10.0) and costs(row("000", 0.5, 8.0, 10), BOTH[:1]) == ()


@pytest.mark.parametrize(("mode", "front"), [("max", ["000", "001"]), ("min", ["002", "001"])])
def test_the_front(mode: str, front: list[str]) -> None:
    rows = [row("000", 0.9, 9, 10), row("001", 0.5, 4, 10), row("002", 0.4, 8, 10), row("003", 0.9, 1, 10, "pruned")]
    rows += [row("004", float("nan"), 1, 1)]
    assert [r.trial for r in pareto_front(rows, BOTH, mode)] == front


VALUES = st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4))


@given(st.lists(VALUES, max_size=12))
def test_nobody_beats_the_front_and_it_beats_the_rest(values: list[tuple[int, int, int]]) -> None:
    rows = [row(f"{i:03d}", *value) for i, value in enumerate(values)]
    losses = {r.trial: (-value[0], *value[1:]) for r, value in zip(rows, values, strict=True)}
    front = {r.trial for r in pareto_front(rows, BOTH, "max")}

    def beaten(name: str) -> bool:
        return any(
            o != losses[name] and all(a <= b for a, b in zip(o, losses[name], strict=True)) for o in losses.values()
        )

    assert front == {name for name in losses if not beaten(name)}
