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
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from orchestrator.space import TRIAL, Space
from orchestrator.trial import METRIC

FILE = "study.journal"


@dataclass(frozen=True)
class Ended:
    """How a trial ended, as its row says."""

    status: str  #: completed, pruned or failed
    best: float  #: NaN where it has none


@dataclass(frozen=True)
class Past:
    """A trial of the study that is over, for ASHA's rungs."""

    trial: str
    values: dict[int, float]  #: the best value so far after each epoch


def trial_name(number: int) -> str:
    """What the study's trial ``number`` is called: its folder, its row, its line on the screen."""
    return f"{number:03d}"


class StudySearch(OptunaSearch):
    """OptunaSearch without four of its traps.

    A trial that ASHA stopped is told as PRUNED with the epochs it had, not as COMPLETE; a value that is not
    finite is told as FAIL instead of staying RUNNING for ever; steps are our 1-based epochs, which unlike
    ``training_iteration`` do not restart after a resume; and a study that was cut off is gone on with.

    Args:
        ended: the trials that have rows, by name. What the study says of them is mended to fit. All others
            that were begun are suggested again first: the same Optuna trial, the same name.
    """

    def __init__(
        self,
        space: Space,
        mode: str,
        study: str,
        journal: Path,
        seed: int,
        epochs: int,
        trials: int,
        ended: Mapping[str, Ended] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._epochs, self._base_seed = epochs, seed
        storage = JournalStorage(JournalFileBackend(str(journal)))
        fresh = study not in optuna.get_all_study_names(storage)
        super().__init__(
            space=space,
            metric=METRIC,
            mode=mode,
            sampler=optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=startup_trials(trials)
            ),
            study_name=study,
            storage=storage,
            points_to_evaluate=space.first_points() if fresh else None,
        )
        self._begun = self._reconcile(ended or {})

    @property
    def begun(self) -> Sequence[str]:
        """The trials that were begun and have no row: they are suggested first."""
        return [trial_name(trial.number) for trial in self._begun]

    def past(self) -> list[Past]:
        """The trials that are over, in the order of their numbers."""
        begun = set(self.begun)
        names = [(trial_name(trial.number), trial) for trial in self._told()]
        return [Past(name, dict(trial.intermediate_values)) for name, trial in names if name not in begun]

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if trial_id not in self._ot_trials:
            if self._begun:
                trial = self._begun.pop(0)
                self._ot_trials[trial_id] = optuna.trial.Trial(self._ot_study, trial._trial_id)
            else:
                self._seed_next()
        choices = super().suggest(trial_id)
        return {**(choices or {}), TRIAL: trial_name(self._ot_trials[trial_id].number)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        trial = self._ot_trials[trial_id]
        if trial_id in self._completed_trials or not math.isfinite(result.get(METRIC, math.nan)):
            return
        frozen = self._frozen(trial)
        # what was killed tells its earlier epochs again
        if not frozen.state.is_finished() and result["epoch"] not in frozen.intermediate_values:
            trial.report(result[METRIC], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial = self._ot_trials[trial_id]
        if self._frozen(trial).state.is_finished():  # it was told before its row could be written
            return
        value = (result or {}).get(METRIC, math.nan)
        if error or not math.isfinite(value):
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif (result or {})["epoch"] < self._epochs:
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        else:
            self._ot_study.tell(trial, value)

    def _reconcile(self, ended: Mapping[str, Ended]) -> list[FrozenTrial]:
        """Tell the study of trials that have rows but are RUNNING in it; the trials that have none."""
        begun = []
        for trial in self._told():
            end = ended.get(trial_name(trial.number))
            if end is None:
                begun.append(trial)
            elif not trial.state.is_finished():
                self._tell(trial, end)
        return begun

    def _tell(self, trial: FrozenTrial, end: Ended) -> None:
        states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
        state = states.get(end.status, TrialState.FAIL) if math.isfinite(end.best) else TrialState.FAIL
        self._ot_study.tell(trial.number, end.best if state == TrialState.COMPLETE else None, state=state)

    def _told(self) -> list[FrozenTrial]:
        """The trials that were begun, by number; without the points that only wait."""
        trials: list[FrozenTrial] = self._ot_study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]

    def _frozen(self, trial: Any) -> FrozenTrial:
        frozen: FrozenTrial = self._ot_study._storage.get_trial(trial._trial_id)
        return frozen

    def _seed_next(self) -> None:
        """The next trial's random numbers depend on the seed and its number, not on whether the sweep was cut off."""
        number = len(self._told())
        seeds = np.random.SeedSequence([self._base_seed, number]).generate_state(2)
        sampler = self._ot_study.sampler
        sampler._rng.rng.seed(int(seeds[0]))
        sampler._random_sampler._rng.rng.seed(int(seeds[1]))


def startup_trials(trials: int) -> int:
    """How many trials are drawn at random before TPE takes over: a third, Optuna's own 10 at most."""
    return min(10, max(2, trials // 3))
