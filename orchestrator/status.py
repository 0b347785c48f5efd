"""How far a sweep is: read from its results, without Ray."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from orchestrator import runfile
from orchestrator.alive import Driver, driver_of
from orchestrator.metrics import METRICS
from orchestrator.objectives import pareto_front
from orchestrator.results import Row, from_record, read_rows, trial_name
from orchestrator.storage import Storage
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import epochs_of, read_study, study_name


@dataclass(frozen=True)
class Begun:
    """A trial that was begun and is not over."""

    trial: str
    epoch: int  #: its last finished one
    best: float | None

    @property
    def best_words(self) -> str:
        return "no value yet" if self.best is None else f"best {self.best:.4f}"


@dataclass(frozen=True)
class Status:
    """How far a sweep is."""

    name: str
    trials: int  #: in all
    epochs: int  #: of a whole trial
    over: dict[str, str]  #: trials that are over, and how they ended
    begun: list[Begun]
    best: float | None  #: of all trials, also of those that run
    metric: str
    objective: str  #: the task's own; '' where no trial is over
    front: list[Row]  #: the Pareto front, of a sweep with several objectives
    driver: Driver | None

    @property
    def to_come(self) -> int:
        return max(0, self.trials - len(self.over) - len(self.begun))

    @property
    def driven(self) -> bool:
        return self.driver is not None and self.driver.alive

    @property
    def abandoned(self) -> bool:
        """Whether there is work left and nobody does it."""
        return len(self.over) < self.trials and not self.driven

    @property
    def best_words(self) -> str:
        return "-" if self.best is None else f"{self.metric} {self.best:.4f}"

    @property
    def driver_words(self) -> str:
        if self.driver is not None and self.driver.alive:
            return f"runs on {self.driver.host} (process {self.driver.pid})"
        return f"no driver; go on with: samsweep resume {self.name}" if self.abandoned else "finished"

    def count(self, kind: str) -> int:
        return sum(status == kind for status in self.over.values())

    def to_json(self) -> dict[str, Any]:
        counts = {kind: self.count(kind) for kind in ("completed", "pruned", "failed")}
        more = {"to_come": self.to_come, "driven": self.driven, "finished": len(self.over) >= self.trials}
        return {**asdict(self), "front": [row.trial for row in self.front], **counts, **more}


def read_status(storage: Storage, name: str) -> Status:
    """The status of sweep ``name``.

    Raises:
        UserError: there is no such sweep, or its files are damaged.
    """
    begun = runfile.load(storage, name)
    if begun is None:
        raise runfile.missing(storage, name)
    rows = [row for row in read_rows(storage, name) if row["status"] != "stopped"]
    over = {row["trial"]: row["status"] for row in rows}
    running = [_begun(trial) for trial in _study(storage / name, begun, name)]
    running = [trial for trial in running if trial.trial not in over]
    values = [row["best"] for row in rows if row["best"] is not None] + [t.best for t in running if t.best is not None]
    finite = [value for value in values if math.isfinite(value)]
    over_rows = [from_record(row) for row in rows] if len(begun.objectives) > 1 else []
    return Status(
        name=name,
        trials=begun.trials,
        epochs=begun.settings["train.epochs"],
        over=over,
        begun=running,
        best=(max if begun.direction == "max" else min)(finite) if finite else None,
        metric=METRICS[rows[0]["objective"]].label if rows else "",
        objective=rows[0]["objective"] if rows else "",
        front=pareto_front(over_rows, begun.objectives, begun.direction),
        driver=driver_of(storage / name),
    )


def _study(run: Storage, begun: runfile.RunFile, name: str) -> list[FrozenTrial]:
    """The study's trials that were begun."""
    if not run.exists(JOURNAL):
        return []
    known = study_name(begun.method, begun.dataset, begun.settings["backbone.name"], name)
    if run.is_local:
        trials = read_study(run.local(JOURNAL), known)
    else:
        with TemporaryDirectory(prefix="samsweep-") as folder:
            path = Path(folder) / JOURNAL
            path.write_bytes(run.read(JOURNAL))
            trials = read_study(path, known)
    return [trial for trial in trials if trial.state != TrialState.WAITING]


def _begun(trial: FrozenTrial) -> Begun:
    values = epochs_of(trial)
    last = max(values, default=0)
    return Begun(trial_name(trial.number), last, values.get(last))
