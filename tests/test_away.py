"""What a trial's driver writes and removes in a store that is away."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flaky_store import AWAY
from rich.console import Console

from orchestrator import patience, sweep
from orchestrator import recorder as recorder_module
from orchestrator.errors import UserError
from orchestrator.plan import Plan, make_plan
from orchestrator.recorder import Recorder, StopAtFault
from orchestrator.results import make_row, read_rows, write_row
from orchestrator.single import TRIAL as SINGLE
from orchestrator.single import train_here
from orchestrator.space import TRIAL, Space
from orchestrator.storage import Storage
from orchestrator.study import StudySearch, study_name

pytestmark = pytest.mark.usefixtures("pauses")


@pytest.fixture
def plan(tiny_data: Path, store: Any) -> Plan:
    changes = {"train.epochs": 1, "train.batch": 4, "train.precision": "fp32"}
    return make_plan("decoder", "tiny", changes, Storage(str(tiny_data)), Storage("flaky://bucket"), "run")


@pytest.fixture
def recorder(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Of a sweep with three open trials."""
    monkeypatch.setattr(sweep.ray, "get", lambda said: said)
    (tmp_path / "study.journal").write_bytes(b"journal")
    watcher = SimpleNamespace(begun=lambda trial: None, epoch=lambda *_: None, ended=lambda row: None)
    mailbox = SimpleNamespace(close=SimpleNamespace(remote=lambda trial: None))
    search = SimpleNamespace(journal=tmp_path / "study.journal", tell=lambda name, end: None, objectives=("quality",))
    slots = SimpleNamespace(start=lambda job: None)
    recorder = Recorder(plan, 9, watcher, mailbox, slots, search, rows=[])
    for name in "abc":
        plan.run.write(f"trials/{name}/state.pt", b"x")
        recorder.on_trial_start(0, [], trial(name))
    return recorder


def trial(name: str) -> SimpleNamespace:
    """As Tune knows it."""
    return SimpleNamespace(trial_id="0ab1", config={TRIAL: name})


def test_the_end_of_a_trial_waits(recorder: Recorder, plan: Plan, store: Any, pauses: list[float]) -> None:
    store.errors.update({name: [AWAY] for name in ("exists", "rm", "open", "close")})
    store.lost.append(AWAY)
    recorder.on_trial_complete(0, [], trial("a"))
    assert recorder.fault is None and not any(store.errors.values()) and not store.lost and len(pauses) >= 5
    assert plan.run.names("trials/a") == ["record.arrow"] and plan.run.names("trials/b") == ["state.pt"]
    assert plan.run.read("study.journal") == b"journal"


@pytest.mark.parametrize("lost", [False, True])
def test_a_trial_without_space_or_without_ray_is_gone_on_with_later(
    lost: bool, recorder: Recorder, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "ControllerError: the actor is unavailable" if lost else "OSError: [Errno 28] No space left on device"
    recorder.mailbox.close.remote = lambda trial: said
    monkeypatch.setattr(recorder_module, "lost_ray", lambda: lost)
    recorder.on_trial_error(0, [], trial("a"))
    assert [(row.status, row.cause) for row in recorder.rows] == [("stopped", said)]
    assert plan.run.names("trials/a") == ["record.arrow", "state.pt"] and not sweep.ended_rows(plan.run)
    assert lost or "no space left; free some, then: samsweep resume run" in str(recorder.fault)


@pytest.mark.parametrize("operation", ["exists", "open"])
def test_a_store_that_stays_away_ends_the_sweep_in_one_line(
    operation: str, recorder: Recorder, store: Any, pauses: list[float]
) -> None:
    store.errors[operation] = [AWAY] * 10_000
    recorder.on_trial_complete(0, [], trial("a"))
    assert StopAtFault(recorder).stop_all() and 120 < sum(pauses) <= patience.PATIENCE
    assert "Could not connect" in str(recorder.fault) and "\n" not in str(recorder.fault)
    if operation == "exists":
        recorder.close_open_trials("the sweep ended")
        assert sum(pauses) <= patience.PATIENCE, "each of the others need not wait again"
    assert {row.status for row in recorder.rows} <= {"pruned", "stopped"}


def test_a_sweep_that_cannot_begin_is_told_in_one_line(
    recorder: Recorder, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AWAY

    monkeypatch.setattr(sweep, "_tuner", fail)
    monkeypatch.setattr(sweep, "open_mailbox", lambda: None)
    monkeypatch.setattr(sweep.ray, "kill", lambda actor: None)
    with pytest.raises(UserError, match="flaky://bucket/run: cannot be written .Could not connect"):
        sweep.run_sweep(plan, 1, {}, 2, tmp_path, recorder.watcher)


def test_another_machine_takes_the_study_from_the_store(
    recorder: Recorder, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = study_name("decoder", "tiny", "vit_t", "run")
    space = Space(plan.settings, {})
    there = StudySearch(space, "max", name, tmp_path / "there.journal", seed=0, trials=4)
    told = [there.suggest(trial) for trial in "xyz"]
    plan.run.write("study.journal", (tmp_path / "there.journal").read_bytes())
    for trial, status in (("000", "completed"), ("001", "stopped")):
        write_row(plan.run, make_row(plan, trial, status, [], seconds=1))
        plan.run.write(f"trials/{trial}/state.pt", b"x")
    made: dict[str, Any] = {}

    def tuner(plan: Plan, rest: int, at_once: int, recorder: Recorder) -> Any:
        made.update(rest=rest, recorder=recorder)
        return SimpleNamespace(fit=lambda: None)

    monkeypatch.setattr(sweep, "_tuner", tuner)
    monkeypatch.setattr(sweep, "open_mailbox", lambda: None)
    monkeypatch.setattr(sweep.ray, "kill", lambda actor: None)
    outcome = sweep.run_sweep(plan, 4, {}, 2, tmp_path, recorder.watcher)
    assert [row.trial for row in outcome.rows] == ["000"] and outcome.interrupted and made["rest"] == 3
    assert [made["recorder"].search.suggest(trial) for trial in "ab"] == told[1:], "in the order of their numbers"
    assert plan.run.names("trials") == ["000", "001"], "a, b and c were never heard of"
    assert plan.run.names("trials/000") == ["record.arrow"] and "state.pt" in plan.run.names("trials/001")


def test_a_single_trial_waits(plan: Plan, store: Any) -> None:
    plan.run.write(f"trials/{SINGLE}/other", b"x")
    store.errors.update({name: [AWAY] for name in ("exists", "rm", "open")})
    train_here(plan, Console(quiet=True), keep=True)
    assert not any(store.errors.values())
    (row,) = read_rows(plan.storage)
    assert row["status"] == "completed"
    assert plan.run.names(f"trials/{SINGLE}") == ["best.safetensors", "other", "record.arrow"]


def test_a_user_is_told_at_once(plan: Plan, store: Any, pauses: list[float]) -> None:
    for call in (plan.run.names, plan.run.exists, plan.run.remove):
        store.errors["exists"] = [AWAY]
        with pytest.raises(UserError, match="cannot be reached"):
            call()
    assert not pauses
