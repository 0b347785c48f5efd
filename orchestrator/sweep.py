"""A sweep: Ray Tune asks Optuna for trials, ASHA stops the hopeless ones, every trial becomes a row."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.tune

from orchestrator.asha import asha
from orchestrator.errors import UserError
from orchestrator.job import CHANGED
from orchestrator.leaderboard import rank
from orchestrator.mailbox import open_mailbox
from orchestrator.objectives import QUALITY, costs
from orchestrator.patience import PATIENCE, is_passing, patiently
from orchestrator.plan import Plan
from orchestrator.ray_storage import ray_storage
from orchestrator.results import TRIALS, Row, from_record, make_row, read_rows, write_row
from orchestrator.runtime import Capacity, lost_ray
from orchestrator.space import TRIAL, Space
from orchestrator.storage import Storage, writing_failed
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import Ended, StudySearch, study_name
from orchestrator.trial import METRIC, RAY_FOLDER, name_of, run_trial
from orchestrator.warm import WarmPoint

TUNE = "tune"  #: Tune's own folder in a run's
#: A trial's driver asks for no CPU, which the workers need, but for a sliver of the head node, where it waits.
DRIVER_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.0001}


class Watcher(Protocol):
    """Who is told how the sweep goes."""

    def epoch(self, trial: str, choices: dict[str, Any], record: dict[str, Any]) -> None: ...

    def ended(self, row: Row) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a sweep left."""

    rows: list[Row]
    interrupted: bool


def run_sweep(
    plan: Plan,
    trials: int,
    fixed: Mapping[str, Any],
    capacity: Capacity,
    log: Path,
    watcher: Watcher,
    warm: Sequence[WarmPoint] = (),
    objectives: Sequence[str] = (QUALITY,),
) -> Outcome:
    """Run ``trials`` trials and write a row for each; or, of a sweep that was cut off, those that have none yet.

    Args:
        plan: what every trial shares.
        fixed: dotted settings that the user gave; no dimensions of the search.
        log: a local folder for Ray's own files.
        warm: what is tried right after the defaults.
        objectives: of the search, quality first (``objectives.parse``).

    Raises:
        UserError: results could not be written, or the dataset changed; the rows until then are written.
    """
    run, mailbox = plan.run, open_mailbox()
    journal = run.local(JOURNAL) if run.is_local else log / JOURNAL
    if not run.is_local and run.exists(JOURNAL):
        journal.write_bytes(run.read(JOURNAL))
    rows = ended_rows(run)
    search = StudySearch(
        Space(plan.settings, fixed),
        plan.task.mode,
        study=study_of(plan),
        journal=journal,
        seed=plan.settings.train.seed,
        trials=trials,
        ended={row.trial: Ended(row.status, row.best, costs(row, objectives)) for row in rows},
        warm=warm,
        objectives=objectives,
    )
    recorder = Recorder(plan, watcher, mailbox, search, rows)
    try:
        recorder.tidy()
        if (rest := trials - len(rows)) > 0:
            run.remove(TUNE)  # of a sweep that was cut off: what counts lies in the study and in the trials
            _tuner(plan, rest, capacity, recorder).fit()
    except Exception as error:
        # Tune's and Optuna's own files lie under STORAGE too; what botocore raises is no OSError
        if isinstance(error, UserError) or not (isinstance(error, OSError) or is_passing(error)):
            raise
        recorder.fault = recorder.fault or writing_failed(run.uri, error)
    finally:
        recorder.close_open_trials("the sweep ended" if recorder.fault else "interrupted by the user")
        ray.kill(mailbox)
    if recorder.fault:
        raise recorder.fault
    return Outcome(recorder.rows, interrupted=len(recorder.rows) < trials or recorder.stopped)


def ended_rows(run: Storage) -> list[Row]:
    """The rows of a run's trials that are over; one that was stopped with its sweep is not."""
    rows = [from_record(record) for record in read_rows(run.parent, run.name)]
    return [row for row in rows if row.status != "stopped"]


def study_of(plan: Plan) -> str:
    """The name of a sweep's study in its journal."""
    settings = plan.settings
    return study_name(settings.method, settings.dataset, settings.backbone.name, plan.name)


def _tuner(plan: Plan, rest: int, capacity: Capacity, recorder: Recorder) -> ray.tune.Tuner:
    """The ``rest`` of the sweep as Ray Tune takes it."""
    settings = plan.settings
    path, filesystem = ray_storage(plan.run)
    return ray.tune.Tuner(
        ray.tune.with_resources(
            ray.tune.with_parameters(
                run_trial,
                base=settings.flat(),
                data=plan.data.uri,
                fingerprint=plan.fingerprint,
                run=plan.run.uri,
                mailbox=recorder.mailbox,
            ),
            DRIVER_RESOURCES,
        ),
        tune_config=ray.tune.TuneConfig(
            metric=METRIC,
            mode=plan.task.mode,
            num_samples=rest,
            trial_dirname_creator=name_of,
            max_concurrent_trials=min(rest, capacity.concurrent(settings.train)),
            search_alg=recorder.search,
            scheduler=_scheduler(plan, recorder.search),
        ),
        run_config=ray.tune.RunConfig(
            name=TUNE,
            storage_path=path,
            storage_filesystem=filesystem,
            callbacks=[recorder],
            stop=StopAtFault(recorder),
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=0),
        ),
    )


def _scheduler(plan: Plan, search: StudySearch) -> ray.tune.schedulers.TrialScheduler | None:
    """ASHA by quality; none where quality is not all that counts: what it would cut may be the cheapest good trial."""
    if len(search.objectives) > 1:
        return None
    return asha(plan.task.mode, plan.settings.train.epochs, *search.before())


def trials_of(space: Space, wanted: int) -> int:
    """How many trials make sense: no more than a finite space has points."""
    points = space.all_points()
    return min(wanted, len(points)) if points else wanted


class StopAtFault(ray.tune.Stopper):
    """Ends the sweep once its results can no longer be written."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.recorder.fault is not None


class Recorder(ray.tune.Callback):
    """Gathers each trial's epochs and writes its row when it ends. ``rows``: of trials that have ended before."""

    def __init__(self, plan: Plan, watcher: Watcher, mailbox: Any, search: StudySearch, rows: Sequence[Row]) -> None:
        self.plan, self.watcher, self.mailbox, self.search = plan, watcher, mailbox, search
        self.fault: UserError | None = None
        self.rows = list(rows)
        self.stopped = False
        self._patience = PATIENCE
        self._epochs: dict[str, list[dict[str, Any]]] = {}
        self._began: dict[str, float] = {}
        self._choices: dict[str, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks; the terminal cannot be saved, and the search is saved already."""
        return {**self.__dict__, "watcher": None, "search": None}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = name_of(trial)
        self._began[name] = time.time()
        self._choices[name] = {key: value for key, value in trial.config.items() if key != TRIAL}
        self._epochs[name] = []
        self._keep_study()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        if "record" in result:
            name = name_of(trial)
            self._epochs[name].append(result["record"])
            self.watcher.epoch(name, self._choices[name], result["record"])
            self._keep_study()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = name_of(trial)
        done = len(self._epochs[name]) == self.plan.settings.train.epochs
        self._end(name, "completed" if done else "pruned")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(name_of(trial), "failed")

    def close_open_trials(self, cause: str) -> None:
        """Rows for trials that were cut off by what ended the sweep."""
        for trial in [t for t in self._began if t not in {row.trial for row in self.rows}]:
            self.stopped = True
            self._end(trial, "stopped", cause)

    def _end(self, trial: str, status: str, cause: str | None = None) -> None:
        said = ray.get(self.mailbox.close.remote(trial))
        if status == "failed":
            cause = said or "the trial's process died; see ray.log"
            if lost_ray():
                status = "stopped"  # no fault of the trial's; the watchdog is about to end this process
            elif "no space left" in cause.lower():  # nor will there be for the next trial; it can be gone on with
                status = "stopped"
                self.fault = self.fault or UserError(
                    f"{self.plan.run.uri}: no space left; free some, then: samsweep resume {self.plan.name}"
                )
            elif CHANGED in cause:  # whatever follows could not be held against what was
                self.fault = self.fault or UserError(cause)
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

    def _keep(self, row: Row) -> None:
        # the row comes first: a trial without one is gone on with, by Ray Train's checkpoint, whatever the study says
        write_row(self.plan.run, row)
        try:
            self.search.tell(row.trial, Ended(row.status, row.best, costs(row, self.search.objectives)))
        except OSError as error:
            raise writing_failed(str(self.search.journal), error) from error
        self._keep_study()
        self._remove_checkpoints(row)

    def tidy(self) -> None:
        """Remove what a process that was killed left of trials which had ended, or which the study never heard of."""
        for row in self.rows:
            self._remove_checkpoints(row)
        known = {past.trial for some in self.search.before() for past in some}
        for name in self.plan.run.names(TRIALS):
            if name not in known:  # the next trial of that name may have other parameters
                (self.plan.run / TRIALS / name).remove()

    def _remove_checkpoints(self, row: Row) -> None:
        if row.status != "stopped":  # early stops would leave them behind
            patiently((self.plan.run / TRIALS / row.trial / RAY_FOLDER).remove, self._patience)

    def _keep_study(self) -> None:
        """Put the study beside the results, so that another machine can go on with it."""
        if self.plan.run.is_local or self.fault:
            return
        try:
            self.plan.run.write(JOURNAL, self.search.journal.read_bytes(), self._patience)
        except UserError as error:
            self.fault, self._patience = error, 0


def best_row(rows: list[Row], mode: str) -> Row | None:
    """The best completed trial by what was chosen on; None where none completed."""
    done = [r for r in rows if r.status == "completed" and math.isfinite(r.best)]
    return min(done, key=lambda r: rank(mode, r.best, r.trial), default=None)
