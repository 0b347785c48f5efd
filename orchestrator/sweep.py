"""A sweep: Ray Tune asks Optuna for trials, ASHA stops the hopeless ones, every trial becomes a row."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.tune

from orchestrator.asha import asha
from orchestrator.errors import UserError
from orchestrator.job import run_job
from orchestrator.leaderboard import rank
from orchestrator.mailbox import open_mailbox
from orchestrator.objectives import QUALITY, costs
from orchestrator.patience import is_passing
from orchestrator.plan import Plan
from orchestrator.ray_storage import ray_storage
from orchestrator.recorder import Recorder, StopAtFault, Watcher, Watchers
from orchestrator.results import Row, from_record, read_rows
from orchestrator.sampler import Lesson
from orchestrator.slots import FOLDER as SLOTS
from orchestrator.slots import Slots
from orchestrator.space import Space
from orchestrator.storage import Storage, writing_failed
from orchestrator.study import FILE as JOURNAL
from orchestrator.study import Ended, StudySearch, study_name
from orchestrator.telemetry import Telemetry
from orchestrator.trial import METRIC, name_of, run_trial
from orchestrator.warm import WarmPoint
from orchestrator.worker import Work

TUNE = "tune"  #: Tune's own folder in a run's
#: A trial's driver asks for no CPU, which the workers need, but for a sliver of the head node, where it waits.
DRIVER_RESOURCES = {"CPU": 0, "node:__internal_head__": 0.0001}


@dataclass(frozen=True)
class Outcome:
    """What a sweep left."""

    rows: list[Row]
    interrupted: bool


def run_sweep(
    plan: Plan,
    trials: int,
    fixed: Mapping[str, Any],
    at_once: int,
    log: Path,
    watcher: Watcher,
    warm: Sequence[WarmPoint] = (),
    objectives: Sequence[str] = (QUALITY,),
    lessons: Sequence[Lesson] = (),
    work: Work = run_job,
) -> Outcome:
    """Run ``trials`` trials and write a row for each; or, of a sweep that was cut off, those that have none yet.

    Args:
        plan: what every trial shares.
        fixed: dotted settings that the user gave; no dimensions of the search.
        at_once: as many trials run side by side; they must fit on the cluster.
        log: a local folder for Ray's own files.
        warm: what is tried right after the defaults.
        lessons: what the sampler knows from other studies.
        objectives: of the search, quality first (``objectives.parse``).
        work: what the workers do for a trial.

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
        lessons=lessons,
    )
    at_once = max(1, min(at_once, trials - len(rows)))
    slots = Slots(plan.name, run / SLOTS, mailbox, at_once, work)
    telemetry = Telemetry(plan, trials, rows)
    recorder = Recorder(plan, trials, Watchers(watcher, telemetry), mailbox, slots, search, rows)
    try:
        recorder.tidy()
        if (rest := trials - len(rows)) > 0:
            for folder in (TUNE, SLOTS):  # of a sweep that was cut off: what counts lies in the study and in the trials
                run.remove(folder)
            with telemetry, slots:
                with _signals_kept():
                    _tuner(plan, rest, at_once, recorder).fit()
                if not recorder.open_trials():
                    slots.close()
    except Exception as error:
        # Tune's and Optuna's own files lie under STORAGE too; what botocore raises is no OSError
        if isinstance(error, UserError) or not (isinstance(error, OSError) or is_passing(error)):
            raise
        recorder.fault = recorder.fault or writing_failed(run.uri, error)
    finally:
        recorder.close_open_trials("the sweep ended" if recorder.fault else "interrupted by the user")
        ray.kill(mailbox)
        with contextlib.suppress(UserError, OSError):  # Ray may still write there; gc takes what is left
            run.remove(SLOTS)
    if recorder.fault:
        raise recorder.fault
    return Outcome(recorder.rows, interrupted=len(recorder.rows) < trials or recorder.stopped)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Tune takes Ctrl-C for itself, and does not give it back."""
    mine = [signal.SIGINT, signal.SIGUSR1] if threading.current_thread() is threading.main_thread() else []
    before = {number: signal.getsignal(number) for number in mine}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended_rows(run: Storage) -> list[Row]:
    """The rows of a run's trials that are over; one that was stopped with its sweep is not."""
    rows = [from_record(record) for record in read_rows(run.parent, run.name)]
    return [row for row in rows if row.status != "stopped"]


def study_of(plan: Plan) -> str:
    """The name of a sweep's study in its journal."""
    settings = plan.settings
    return study_name(settings.method, settings.dataset, settings.backbone.name, plan.name)


def _tuner(plan: Plan, rest: int, at_once: int, recorder: Recorder) -> ray.tune.Tuner:
    """The ``rest`` of the sweep as Ray Tune takes it."""
    path, filesystem = ray_storage(plan.run)
    return ray.tune.Tuner(
        ray.tune.with_resources(ray.tune.with_parameters(run_trial, mailbox=recorder.mailbox), DRIVER_RESOURCES),
        tune_config=ray.tune.TuneConfig(
            metric=METRIC,
            mode=plan.task.mode,
            num_samples=rest,
            trial_dirname_creator=name_of,
            max_concurrent_trials=at_once,
            reuse_actors=True,
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


def best_row(rows: list[Row], mode: str) -> Row | None:
    """The best completed trial by what was chosen on; None where none completed."""
    done = [r for r in rows if r.status == "completed" and math.isfinite(r.best)]
    return min(done, key=lambda r: rank(mode, r.best, r.trial), default=None)
