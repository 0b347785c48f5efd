"""What a sweep was begun with, beside its results: who goes on with it must mean the same sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.config import with_new_settings
from orchestrator.errors import UserError, unknown
from orchestrator.plan import Plan
from orchestrator.space import Space
from orchestrator.storage import Storage

FILE = "run.json"
VERSION = 1


@dataclass(frozen=True)
class RunFile:
    """A sweep's beginning."""

    method: str
    dataset: str
    changes: dict[str, Any]  #: what the user typed, as dotted settings
    settings: dict[str, Any]  #: all of them, resolved
    data: str  #: URI of DATA
    fingerprint: str
    direction: str  #: 'max' or 'min'
    space: list[str]  #: its dimensions (``Space.describe``)
    trials: int
    warm_start: str = "off"  #: what was asked for; sweeps from before there was one had none
    warm: list[dict[str, Any]] = field(default_factory=list)  #: what was taken: ``warm.WarmPoint``
    lessons: list[dict[str, Any]] = field(default_factory=list)  #: what the sampler learned from: ``sampler.Lesson``
    objectives: list[str] = field(default_factory=lambda: ["quality"])
    version: int = VERSION

    def save(self, run: Storage) -> None:
        run.write(FILE, json.dumps(asdict(self), indent=1).encode())

    def check_same(self, other: RunFile, name: str) -> None:
        """Raise UserError, with the reason, unless ``other`` (what is asked for now) is the same sweep.

        The number of trials, the place of the data and what there would be to start from now may differ.
        """
        for what in ("method", "dataset", "direction", "fingerprint", "warm_start", "objectives"):
            _same(name, what, getattr(self, what), getattr(other, what))
        then = with_new_settings(self.settings)
        for key in sorted({*then, *other.settings}):
            _same(name, key, then.get(key), other.settings.get(key))
        for dimension in sorted({*self.space} ^ {*other.space}):
            there = "has no more" if dimension in self.space else "had not"
            raise UserError(f"NAME={name}: the search space {there} the dimension {dimension}; choose another NAME")


def describe(
    plan: Plan, changes: Mapping[str, Any], space: Space, data: Storage, trials: int, **search: Any
) -> RunFile:
    """The sweep that a plan is about to begin or to go on with; ``search``: how it searches, by field."""
    return RunFile(
        method=plan.settings.method,
        dataset=plan.settings.dataset,
        changes={key: str(value) for key, value in changes.items()},
        settings=plan.settings.flat(),
        data=data.uri,
        fingerprint=plan.fingerprint,
        direction=plan.task.mode,
        space=space.describe(),
        trials=trials,
        **search,
    )


def load(storage: Storage, name: str) -> RunFile | None:
    """The beginning of sweep ``name``; None where there is no such sweep. Raises UserError where it is damaged."""
    run = storage / name
    if not run.exists(FILE):
        return None
    try:
        raw = json.loads(run.read(FILE))
        if raw["version"] != VERSION:
            raise UserError(f"{run.uri}/{FILE}: of version {raw['version']}, this is {VERSION}; choose another NAME")
        return RunFile(**raw)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run.uri}/{FILE}: damaged ({type(error).__name__}); choose another NAME") from error


def missing(storage: Storage, name: str) -> UserError:
    """The error for a sweep that is not there: the nearest names."""
    return unknown(f"sweep under {storage.uri}", name, names(storage))


def names(storage: Storage) -> list[str]:
    """The sweeps under STORAGE."""
    return [name for name in storage.names() if storage.exists(f"{name}/{FILE}")]


def _same(name: str, what: str, then: Any, now: Any) -> None:
    if then != now:
        short = [str(value)[:40] for value in (then, now)]
        raise UserError(
            f"NAME={name}: that sweep began with {what} {short[0]}, now it is {short[1]}; choose another NAME"
        )
