"""What a sweep makes of trials that fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_results import epochs

from orchestrator import recorder as module
from orchestrator.errors import NO_ROOM
from orchestrator.plan import Plan, make_plan
from orchestrator.recorder import Recorder, StopAtFault
from orchestrator.results import read_rows
from orchestrator.space import TRIAL
from orchestrator.storage import Storage

NAN = "NotFinite: the loss is not finite in epoch {}, step {} (bce nan); try a lower train.lr"


class Trials:
    """A sweep of nine trials, none of which runs."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.said: str | None = None
        mailbox = SimpleNamespace(close=SimpleNamespace(remote=lambda trial: self.said))
        search = SimpleNamespace(journal=folder / "study.journal", tell=lambda name, end: None, objectives=("quality",))
        watcher = SimpleNamespace(begun=lambda trial: None, epoch=lambda *_: None, ended=lambda row: None)
        slots = SimpleNamespace(start=lambda job: None)
        self.recorder = Recorder(plan, 9, watcher, mailbox, slots, search, rows=[])  # type: ignore[arg-type]
        self.stopper = StopAtFault(self.recorder)

    def end(self, number: int, cause: str | None, told: Sequence[dict[str, Any]] = ()) -> None:
        trial = SimpleNamespace(config={TRIAL: f"{number:03d}"})
        self.recorder.on_trial_start(0, [], trial)
        for record in told:
            self.recorder.on_trial_result(0, [], trial, {"record": [record]})
        self.said = cause
        (self.recorder.on_trial_error if cause else self.recorder.on_trial_complete)(0, [], trial)


@pytest.fixture
def trials(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.setattr(module.ray, "get", lambda said: said)
    changes = {"train.epochs": 1}
    plan = make_plan("decoder", "tiny", changes, Storage(str(tiny_data)), Storage(str(tmp_path / "results")), "run")
    return Trials(plan, tmp_path)


def test_first_trials_that_fail_alike_end_the_sweep(trials: Trials) -> None:
    for number in range(3):
        assert not trials.stopper.stop_all()
        trials.end(number, NAN.format(number + 1, 7 * number))
    assert trials.stopper.stop_all()
    said = str(trials.recorder.fault)
    assert said.startswith("the first 3 trials all failed the same way: NotFinite: the loss is not finite in epoch 3")
    assert said.endswith("mend that, then: samsweep resume run") and "\n" not in said
    assert [row.status for row in trials.recorder.rows] == ["failed"] * 3


def test_trials_that_fail_otherwise_do_not(trials: Trials) -> None:
    for number, cause in enumerate([NAN.format(1, 2), "OutOfMemoryError: 3 GB", NAN.format(1, 2), NAN.format(4, 2)]):
        trials.end(number, cause)
    assert not trials.stopper.stop_all()


def test_one_trial_that_ends_well_clears_the_others(trials: Trials) -> None:
    trials.end(0, None)
    for number in range(1, 6):
        trials.end(number, NAN.format(1, number))
    assert not trials.stopper.stop_all()


def test_a_trial_without_room_is_gone_on_with_later(trials: Trials) -> None:
    trials.end(0, NO_ROOM)
    assert trials.stopper.stop_all() and trials.recorder.rows[0].status == "stopped"
    assert str(trials.recorder.fault).endswith("add nodes or lower WORKERS, then: samsweep resume run")


def test_a_trial_whose_driver_died_is_gone_on_with_later(trials: Trials) -> None:
    """Its own workers were well, or it never began: no failure of the trial's."""
    trials.recorder.on_trial_error(0, [], SimpleNamespace(config={TRIAL: "000"}))
    assert [row.status for row in trials.recorder.rows] == ["stopped"] and trials.recorder.stopped


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (epochs(0.5, {"mae": 0.1}), "completed"),
        (epochs(0.5, {"mae": 0.1})[1:], "completed"),  # patience ended it: fewer epochs, but tested
        (epochs(0.5)[:1], "pruned"),
        ([], "pruned"),
    ],
)
def test_a_trial_that_was_tested_is_completed(trials: Trials, told: list[dict[str, Any]], status: str) -> None:
    trials.end(3, None, told)
    (row,) = read_rows(trials.recorder.plan.storage)
    assert (row["trial"], row["status"], len(row["epochs"])) == ("003", status, len(told))
