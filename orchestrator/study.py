"""Optuna's study behind Tune: durable, seeded, and honest about trials that were cut short, failed or killed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import LOCK_FILE_SUFFIX
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from orchestrator.errors import UserError
from orchestrator.objectives import QUALITY
from orchestrator.results import trial_name
from orchestrator.sampler import Lesson, Tpe
from orchestrator.space import TRIAL, Space
from orchestrator.trial import METRIC
from orchestrator.warm import WarmPoint

FILE = "study.journal"
WARM = "warm"  #: a trial's attribute: the trial of another study that it starts from
EPOCHS = "epochs"  #: a trial's attribute where Optuna takes no intermediate values: with several objectives


@dataclass(frozen=True)
class Ended:
    """How a trial ended, as its row says."""

    status: str  #: completed, pruned or failed
    best: float  #: NaN where it has none
    costs: tuple[float, ...] = ()  #: by the objectives beside quality


@dataclass(frozen=True)
class Past:
    """What the study knows of a trial that an earlier process began."""

    trial: str
    values: dict[int, float]  #: the best value so far after each epoch


class StudySearch(OptunaSearch):
    """OptunaSearch without four of its traps.

    A trial that ASHA stopped is told as PRUNED with the epochs it had, not as COMPLETE; a value that is not
    finite is told as FAIL instead of staying RUNNING for ever; steps are our 1-based epochs, which unlike
    ``training_iteration`` do not restart after a resume; and a study that was cut off is gone on with.

    Tune's word that a trial is over is not passed on: ``tell`` does so, once the trial's row is written.

    Args:
        mode: quality's, 'max' or 'min'.
        warm: what is tried right after the defaults.
        lessons: what the sampler knows from other studies.
        objectives: quality, and costs beside it, each the smaller the better. With these, Optuna takes no
            intermediate values, and whoever runs the trials must not cut them short.
        ended: the trials that have rows, by name; where the study has them RUNNING, they are told now. All
            others that were begun are suggested again first: the same Optuna trial, the same name.

    Raises:
        UserError: a trial has a row, but the study does not know it.
    """

    def __init__(
        self,
        space: Space,
        mode: str,
        study: str,
        journal: Path,
        seed: int,
        trials: int,
        ended: Mapping[str, Ended] | None = None,
        warm: Sequence[WarmPoint] = (),
        objectives: Sequence[str] = (QUALITY,),
        lessons: Sequence[Lesson] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.journal, self._base_seed, self.objectives = journal, seed, tuple(objectives)
        super().__init__(
            space=space,
            metric=METRIC,  # a list's names Tune would want in each result; costs are known at the end
            mode=mode,
            sampler=Tpe(
                seed,
                startup_trials(trials, len(warm) + len(lessons)),
                lessons,
                space.distributions(lesson.params for lesson in lessons),
            ),
            study_name=study,
            storage=open_journal(journal),
        )
        for point in space.first_points():
            self._ot_study.enqueue_trial(point, skip_if_exists=True)
        for start in warm:
            self._ot_study.enqueue_trial(start.point, {WARM: start.source}, skip_if_exists=True)
        self._numbers: dict[str, int] = {}  # by Tune's id
        self._last: int | None = None  # the number of the last trial that was asked for
        self._waited = 0  # the highest number of a trial that waited, or the last number there was
        self._begun = self._reconcile(ended or {})

    def _setup_study(self, mode: str) -> None:
        costs = ["min"] * (len(self.objectives) - 1)
        super()._setup_study([mode, *costs] if costs else mode)

    def before(self) -> tuple[list[Past], list[Past]]:
        """The trials of an earlier process: those that are over, and those that are gone on with."""
        begun = {trial.number for trial in self._begun}
        past = [(trial.number in begun, _past(trial)) for trial in self._told()]
        return [p for again, p in past if not again], [p for again, p in past if again]

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if trial_id not in self._ot_trials:
            self._ot_trials[trial_id] = self._next()
            self._numbers[trial_id] = self._ot_trials[trial_id].number
        choices = super().suggest(trial_id)
        return {**(choices or {}), TRIAL: trial_name(self._numbers[trial_id])}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._completed_trials or not math.isfinite(result.get(METRIC, math.nan)):
            return
        frozen = self._frozen(self._numbers[trial_id])
        # what was killed tells its earlier epochs again
        known = epochs_of(frozen)
        if frozen.state.is_finished() or result["epoch"] in known:
            return
        if len(self.objectives) == 1:
            self._ot_trials[trial_id].report(result[METRIC], result["epoch"])
        else:
            self._ot_trials[trial_id].set_user_attr(EPOCHS, {**known, result["epoch"]: result[METRIC]})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and not error:
            self.on_trial_result(trial_id, result)  # Tune keeps to itself the result at which ASHA stops a trial
        self._completed_trials.add(trial_id)

    def tell(self, name: str, end: Ended) -> None:
        """Tell the study that a trial is over; a trial that was only stopped stays RUNNING, to be gone on with."""
        number = int(name)
        if end.status == "stopped" or self._frozen(number).state.is_finished():
            return
        states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        values = [end.best, *end.costs]
        state = states.get(end.status, TrialState.FAIL) if all(map(math.isfinite, values)) else TrialState.FAIL
        self._ot_study.tell(number, values if state == TrialState.COMPLETE else None, state=state)

    def save(self, checkpoint_path: str) -> None:
        """For Tune's snapshots, which nobody reads: the journal is what a study is gone on with."""
        Path(checkpoint_path).touch()

    def _next(self) -> Any:
        """The trial to suggest, its random numbers dependent on seed and number alone."""
        if not self._begun:
            self._seed_sampler(self._number_to_come())
            asked = self._ot_study.ask()
            self._last = asked.number
            return asked
        trial = self._begun.pop(0)
        if trial.state.is_finished():  # somebody removed its row: run it again, what was told stays told
            return optuna.trial.FixedTrial(trial.params, trial.number)
        self._seed_sampler(trial.number)
        return optuna.trial.Trial(self._ot_study, trial._trial_id)

    def _number_to_come(self) -> int:
        """Of the next trial. Nobody else adds any: without one that waits, it is the last one's successor."""
        if self._last is not None and self._last >= self._waited:
            return self._last + 1
        trials = self._ot_study.get_trials(deepcopy=False)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        self._waited = max(waiting, default=len(trials) - 1)
        return min(waiting, default=len(trials))

    def _seed_sampler(self, number: int) -> None:
        seeds = np.random.SeedSequence([self._base_seed, number]).generate_state(2)
        sampler = self._ot_study.sampler
        sampler._rng.rng.seed(int(seeds[0]))
        sampler._random_sampler._rng.rng.seed(int(seeds[1]))

    def _reconcile(self, ended: Mapping[str, Ended]) -> list[FrozenTrial]:
        """Tell the study of trials that have rows; those that have none."""
        begun, trials = [], self._told()
        if alien := sorted(set(ended) - {trial_name(trial.number) for trial in trials}):
            raise UserError(f"{self.journal}: does not know trial {alien[0]}, which has a result; choose another NAME")
        for trial in trials:
            name = trial_name(trial.number)
            if name in ended:
                self.tell(name, ended[name])
            else:
                begun.append(trial)
        return begun

    def _told(self) -> list[FrozenTrial]:
        """The trials that were begun, by number; without the points that only wait."""
        trials: list[FrozenTrial] = self._ot_study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]

    def _frozen(self, number: int) -> FrozenTrial:
        """Not from the list of all, which would have to be made for each."""
        storage, study = self._ot_study._storage, self._ot_study._study_id
        trial: FrozenTrial = storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study, number))
        return trial


def study_name(method: str, dataset: str, backbone: str, run: str) -> str:
    """A study's name in its journal."""
    return f"{method}/{dataset}/{backbone}/{run}"


def read_study(journal: Path, study: str) -> list[FrozenTrial]:
    """A study's trials, also while somebody else writes it; none where it has not begun."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    if study not in optuna.get_all_study_names(storage):
        return []
    return optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False)


def open_journal(path: Path) -> JournalStorage:
    """A study's file, mended where a process was killed while it wrote: a torn last line, a lock left behind.

    Only for who runs the sweep alone; see ``alive``.
    """
    path.with_name(path.name + LOCK_FILE_SUFFIX).unlink(missing_ok=True)
    if path.exists() and (data := path.read_bytes()) and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path)))


def startup_trials(trials: int, known: int = 0) -> int:
    """How many trials must be over before TPE takes over from chance: a third, Optuna's own 10 at most.

    None needs to be drawn at random where something is ``known`` from other studies.
    """
    return 1 if known else min(10, max(2, trials // 3))


def epochs_of(trial: FrozenTrial) -> dict[int, float]:
    """The best value so far after each epoch that a trial has told of."""
    kept = {int(epoch): value for epoch, value in trial.user_attrs.get(EPOCHS, {}).items()}  # keys of JSON are strings
    return {**trial.intermediate_values, **kept}


def _past(trial: FrozenTrial) -> Past:
    return Past(trial_name(trial.number), epochs_of(trial))
