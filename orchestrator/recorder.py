"""What a sweep remembers while Tune runs it: epochs, a row for each trial that ends, the study beside the results."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ray
import ray.tune

from orchestrator.errors import NO_ROOM, NO_SPACE, UserError
from orchestrator.job import CHANGED, STATE_FILE, Job
from orchestrator.objectives import costs
from orchestrator.patience import PATIENCE, patiently
from orchestrator.plan import Plan
from orchestrator.results import TRIALS, Row, make_row, write_row
from orchestrator.runtime import lost_ray
from orchestrator.slots import Slots
from orchestrator.space import TRIAL, chosen_settings
from orchestrator.storage import writing_failed
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import Ended, StudySearch
from orchestrator.trial import name_of

ALIKE = 3  #: so many first trials that fail the same way end a sweep
STEPS_SECONDS = 2.0  #: between two looks at how far the trials are within their epochs
STUDY_SECONDS = 10.0  #: between two copies of the study while trials run


class Watcher(Protocol):
    """Who is told how the sweep goes."""

    def begun(self, trial: str) -> None: ...

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None: ...

    def steps(self, told: Mapping[str, tuple[int, int, int]]) -> None: ...

    def ended(self, row: Row) -> None: ...


class Watchers:
    """Several of them."""

    def __init__(self, *watchers: Watcher) -> None:
        self.watchers = watchers

    def begun(self, trial: str) -> None:
        for watcher in self.watchers:
            watcher.begun(trial)

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None:
        for watcher in self.watchers:
            watcher.epoch(trial, choices, record)

    def steps(self, told: Mapping[str, tuple[int, int, int]]) -> None:
        for watcher in self.watchers:
            watcher.steps(told)

    def ended(self, row: Row) -> None:
        for watcher in self.watchers:
            watcher.ended(row)


class StopAtFault(ray.tune.Stopper):
    """Ends the sweep once its results can no longer be written."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.recorder.fault is not None


class Recorder(ray.tune.Callback):
    """Begins each trial's job, gathers its epochs and writes its row when it ends.

    Args:
        trials: how many there shall be in all.
        rows: of trials that have ended before.
    """

    def __init__(
        self,
        plan: Plan,
        trials: int,
        watcher: Watcher,
        mailbox: Any,
        slots: Slots,
        search: StudySearch,
        rows: Sequence[Row],
    ) -> None:
        self.plan, self.trials, self.watcher = plan, trials, watcher
        self.mailbox, self.slots, self.search = mailbox, slots, search
        self.fault: UserError | None = None
        self.rows = list(rows)
        self.stopped = False
        self._patience = PATIENCE
        self._study_kept = self._steps_told = 0.0
        self._epochs: dict[str, list[dict[str, Any]]] = {}
        self._began: dict[str, float] = {}
        self._choices: dict[str, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks; nobody reads that, and most of it cannot be saved."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = self._begin(trial)
        settings = self.plan.settings.replace(chosen_settings(trial.config))
        folder = self.plan.run / TRIALS / name
        plan = self.plan
        self.slots.start(Job(settings.flat(), plan.data.uri, folder.uri, plan.fingerprint, storage=plan.storage.uri))
        self._keep_study()

    def _begin(self, trial: Any) -> str:
        name = name_of(trial)
        self._began[name] = time.time()
        self._choices[name] = {key: value for key, value in trial.config.items() if key != TRIAL}
        self._epochs[name] = []
        self.watcher.begun(name)
        return name

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        if "record" in result:
            name, (record,) = name_of(trial), result["record"]
            self._epochs[name].append(record)
            self.watcher.epoch(name, self._choices[name], record)
            if time.monotonic() - self._study_kept > STUDY_SECONDS:  # it grows with each epoch of each trial
                self._keep_study()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Between two epochs, or before the first, minutes may pass in which Tune has nothing to tell."""
        if time.monotonic() - self._steps_told > STEPS_SECONDS:
            self._steps_told = time.monotonic()
            self.watcher.steps(ray.get(self.mailbox.steps.remote()))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = name_of(trial)
        tested = any("test" in record for record in self._epochs[name][-1:])  # also where patience ended it early
        self._end(name, "completed" if tested else "pruned")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if name_of(trial) not in self._began:  # its process did not even start
            self._begin(trial)
        self._end(name_of(trial), "failed")

    def open_trials(self) -> list[str]:
        """The trials that were begun here and are not over."""
        over = {row.trial for row in self.rows}
        return [trial for trial in self._began if trial not in over]

    def close_open_trials(self, cause: str) -> None:
        """Rows for trials that were cut off by what ended the sweep."""
        for trial in self.open_trials():
            self._end(trial, "stopped", cause)

    def _end(self, trial: str, status: str, cause: str | None = None) -> None:
        said = ray.get(self.mailbox.close.remote(trial))
        if status == "failed":
            cause = said or "Tune's own process for it died"
            status = self._judged(cause) if said else "stopped"  # its workers were well: it can be gone on with
        self.stopped = self.stopped or status == "stopped"
        row = make_row(
            self.plan,
            trial,
            status,
            self._epochs[trial],
            seconds=time.time() - self._began[trial],
            choices=self._choices[trial],
            cause=cause,
        )
        self.rows.append(row)
        try:
            self._keep(row)
        except UserError as error:
            # an exception in a callback would tear Tune down with a traceback; StopAtFault ends it
            self.fault = self.fault or error
            self._patience = 0  # the other trials need not wait for the store again
        self.watcher.ended(row)

    def _judged(self, cause: str) -> str:
        """The status of a trial that failed: no trial's fault is none; some faults end the sweep."""
        go_on = f"then: samsweep resume {self.plan.name}"
        if lost_ray():
            return "stopped"  # the watchdog is about to end this process
        if NO_SPACE in cause.lower():  # nor will there be for the next trial
            self._stop_for(f"{self.plan.run.uri}: no space left; free some, {go_on}")
            return "stopped"
        if NO_ROOM in cause:
            self._stop_for(f"{cause}; add nodes or lower WORKERS, {go_on}")
            return "stopped"
        if CHANGED in cause:  # whatever follows could not be held against what was
            self._stop_for(cause)
        alike = [_without_numbers(row.cause or "") for row in self.rows if row.status != "stopped"]
        alike.append(_without_numbers(cause))
        failed = all(row.status in ("failed", "stopped") for row in self.rows)
        if failed and ALIKE <= len(alike) < self.trials and len(set(alike)) == 1:
            self._stop_for(f"the first {len(alike)} trials all failed the same way: {cause}; mend that, {go_on}")
        return "failed"

    def _stop_for(self, reason: str) -> None:
        self.fault = self.fault or UserError(reason)

    def _keep(self, row: Row) -> None:
        # the row comes first: a trial without one is gone on with, by its state, whatever the study says
        write_row(self.plan.run, row)
        try:
            self.search.tell(row.trial, Ended(row.status, row.best, costs(row, self.search.objectives)))
        except OSError as error:
            raise writing_failed(str(self.search.journal), error) from error
        self._keep_study()
        self._remove_state(row)

    def tidy(self) -> None:
        """Remove what a process that was killed left of trials which had ended, or which the study never heard of."""
        for row in self.rows:
            self._remove_state(row)
        known = {past.trial for some in self.search.before() for past in some}
        for name in self.plan.run.names(TRIALS):
            if name not in known:  # the next trial of that name may have other parameters
                (self.plan.run / TRIALS / name).remove()

    def _remove_state(self, row: Row) -> None:
        if row.status != "stopped":  # early stops would leave them behind
            patiently(lambda: (self.plan.run / TRIALS / row.trial).remove(STATE_FILE), self._patience)

    def _keep_study(self) -> None:
        """Put the study beside the results, so that another machine can go on with it."""
        if self.plan.run.is_local or self.fault:
            return
        self._study_kept = time.monotonic()
        try:
            self.plan.run.write(JOURNAL, self.search.journal.read_bytes(), self._patience)
        except UserError as error:
            self.fault, self._patience = error, 0


def _without_numbers(cause: str) -> str:
    """What two failures share that differ in their step, their value or their memory."""
    return re.sub(r"[+-]?(\d+(\.\d*)?(e[+-]?\d+)?|\bnan\b|\binf\b)", "#", cause)
