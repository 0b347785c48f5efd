"""Whose cores are freed: those of a controller that is dead, not of one that the state API does not know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.train.v2._internal.callbacks import placement_group_callback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.util.state.exception import RayStateApiException

from orchestrator import cleaner
from orchestrator.cleaner import PatientCleaner, PatientCleanerCallback


def raised(*words: Any, **more: Any) -> Any:
    raise RayStateApiException("too busy")


def test_only_dead_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [None, raised, SimpleNamespace(state="PENDING_CREATION"), None, SimpleNamespace(state="DEAD")]
    asked: list[Any] = []

    def get_actor(actor_id: str, timeout: float) -> Any:
        asked.append(answers[len(asked)])
        return asked[-1]() if asked[-1] is raised else asked[-1]

    freed: list[Any] = []
    one = PatientCleaner("controller", 0.01, 1.0, None)
    monkeypatch.setattr(cleaner, "get_actor", get_actor)
    monkeypatch.setattr(one, "_cleanup_placement_group", freed.append)
    monkeypatch.setattr(one, "_exit", lambda: freed.append("gone"))
    one.register_placement_group(SimpleNamespace(id="group"))
    one._monitor_loop()
    assert asked == answers and [getattr(f, "id", f) for f in freed] == ["group", "gone"]


def test_one_that_is_told_to_stop_frees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = PatientCleaner("controller", 0.01, 1.0, None)
    monkeypatch.setattr(one, "_cleanup_placement_group", lambda group: pytest.fail("freed"))
    monkeypatch.setattr(one, "_exit", lambda: None)
    one._stop_event.set()
    one._monitor_loop()


def test_a_controller_starts_the_patient_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement_group_callback, "PlacementGroupCleaner", object)
    started: list[type] = []

    def start(self: Any, context: Any) -> None:
        started.append(placement_group_callback.PlacementGroupCleaner)

    monkeypatch.setattr(PlacementGroupCleanerCallback, "after_controller_start", start)
    PatientCleanerCallback().after_controller_start(None)
    assert started == [PatientCleaner]
