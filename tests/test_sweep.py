"""What the sweep's recorder makes of the ways in which Tune says that a trial is over."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_results import epochs
from test_results import plan as plan_for

from orchestrator import sweep
from orchestrator.results import Row, read_rows
from orchestrator.space import TRIAL
from orchestrator.sweep import Recorder


class Quiet:
    """A watcher, a search and a mailbox that nobody listens to."""

    def __getattr__(self, name: str) -> Any:
        return lambda *words: None

    close = SimpleNamespace(remote=lambda trial: None)


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (epochs(0.5, {"mae": 0.1}), "completed"),
        (epochs(0.5, {"mae": 0.1})[1:], "completed"),  # patience ended it: fewer epochs, but tested
        (epochs(0.5)[:1], "pruned"),
        ([], "pruned"),
    ],
)
def test_a_trial_that_was_tested_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]], status: str
) -> None:
    monkeypatch.setattr(sweep, "ray", SimpleNamespace(get=lambda answer: answer))
    plan = plan_for(tmp_path)
    recorder = Recorder(plan, Quiet(), Quiet(), Quiet(), list[Row]())  # type: ignore[arg-type]
    trial = SimpleNamespace(config={TRIAL: "003", "train.lr": 1e-3})
    recorder.on_trial_start(0, [], trial)
    for record in told:
        recorder.on_trial_result(0, [], trial, {"record": record})
    recorder.on_trial_complete(0, [], trial)
    (row,) = read_rows(plan.storage)
    assert (row["trial"], row["status"], len(row["epochs"])) == ("003", status, len(told))
