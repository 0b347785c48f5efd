"""The best settings of a run with other seeds: how much of a result is luck."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.again import plan_again
from orchestrator.data.tasks import TASKS
from orchestrator.errors import UserError, unknown
from orchestrator.job import CHANGED
from orchestrator.leaderboard import rank
from orchestrator.plan import Plan
from orchestrator.results import SEARCH, SEED, Row, from_record, read_row, read_rows
from orchestrator.single import Errand
from orchestrator.storage import Storage

DEFAULT_SEEDS = 5
SUFFIX = "-seeds"  #: what the run of a run's seeds is called more

Train = Callable[[Plan, Errand], Row]


@dataclass(frozen=True)
class Seeds:
    """The seeds that are wanted of a trial."""

    of: str  #: RUN/TRIAL
    plan: Plan  #: with the trial's own settings, for the run of its seeds
    trials: dict[str, int]  #: the seed of each trial, by name

    def plan_of(self, trial: str) -> Plan:
        """The plan of one of the trials: all but the seed as it was."""
        return dataclasses.replace(self.plan, settings=self.plan.settings.replace({"train.seed": self.trials[trial]}))

    def missing(self) -> list[str]:
        """The trials that are not over."""
        done = {row.trial for row in self.rows()}
        return [trial for trial in self.trials if trial not in done]

    def rows(self) -> list[Row]:
        """The rows of those that are over.

        Raises:
            UserError: one of them has other settings or data, so that it is of a run that is there no more.
        """
        found = []
        for trial in self.trials:
            record = read_row(self.plan.storage, self.plan.name, trial)
            if record is None or record["status"] == "stopped":
                continue
            wanted = self.plan_of(trial)
            if (record["settings"], record["data_fingerprint"]) != (wanted.settings.flat(), wanted.fingerprint):
                raise UserError(
                    f"{self.plan.run.uri}: trial '{trial}' has other settings or data than '{self.of}'; remove that run"
                )
            found.append(from_record(record))
        return found


def plan_seeds(storage: Storage, run: str, count: int, data: str | None = None) -> Seeds:
    """``count`` seeds of the best completed trial of a run: those after its own.

    Raises:
        UserError: the run is not there, nothing of it was completed, or what ``plan_again`` raises.
    """
    best = _best(storage, run)
    first = {"train.seed": best["settings"]["train.seed"] + 1}
    return Seeds(
        of=f"{run}/{best['trial']}",
        plan=plan_again(storage, best, f"{run}{SUFFIX}", data, first, continues=True),
        trials=_trials(best, count),
    )


def has_seeds(storage: Storage, run: str, count: int) -> bool:
    """Whether ``count`` seeds of a run's best trial are over; also where there is no trial to run seeds of."""
    if not _searched(read_rows(storage, run)):
        return True
    rows = [read_row(storage, f"{run}{SUFFIX}", trial) for trial in _trials(_best(storage, run), count)]
    return all(row is not None and row["status"] != "stopped" for row in rows)


def _best(storage: Storage, run: str) -> dict[str, Any]:
    """The trial whose settings are taken."""
    if run not in (runs := storage.names()):
        raise unknown("run", run, runs) if runs else UserError(f"{storage.uri}: no run is there yet")
    rows = read_rows(storage, run)
    if not (done := _searched(rows)):
        why = "it holds seeds or a replay" if any(r["role"] != SEARCH for r in rows) else "none has completed"
        raise UserError(f"run '{run}' has no trial to take settings from: {why}; name a sweep or a training")
    return min(done, key=lambda r: rank(TASKS[r["task"]].mode, r["best"], r["trial"]))


def _searched(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The completed trials of a search."""
    return [r for r in rows if r["status"] == "completed" and r["role"] == SEARCH and math.isfinite(r["best"])]


def _trials(best: dict[str, Any], count: int) -> dict[str, int]:
    first = best["settings"]["train.seed"] + 1
    return {f"{best['trial']}-s{seed:02d}": seed for seed in range(first, first + count)}


def run_seeds(seeds: Seeds, train: Train, say: Callable[[str], None]) -> list[Row]:
    """Train those that have no row yet, one after the other; returns the rows of all.

    A trial that fails has a row that says so, and the next one begins.

    Raises:
        UserError: results cannot be written, or the dataset changed.
    """
    for trial in seeds.missing():
        say(f"trial {trial} of run '{seeds.plan.name}'")
        try:
            train(seeds.plan_of(trial), Errand(trial=trial, role=SEED, of=seeds.of))
        except UserError as error:
            record = read_row(seeds.plan.storage, seeds.plan.name, trial)
            if record is None or record["status"] != "failed" or CHANGED in str(error):
                raise
            say(f"trial {trial} failed: {record['cause']}")
    return seeds.rows()
