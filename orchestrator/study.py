"""Optuna's study behind Tune: durable, seeded, and honest about trials that were cut short or failed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from orchestrator.space import Space
from orchestrator.trial import METRIC

FILE = "study.journal"


class StudySearch(OptunaSearch):
    """OptunaSearch without three of its traps.

    A trial that ASHA stopped is told as PRUNED with the epochs it had, not as COMPLETE; a value that is not
    finite is told as FAIL instead of staying RUNNING for ever; steps are our 1-based epochs, which unlike
    ``training_iteration`` do not restart after a resume.
    """

    def __init__(self, space: Space, mode: str, study: str, journal: Path, seed: int, epochs: int, trials: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._epochs = epochs
        super().__init__(
            space=space,
            metric=METRIC,
            mode=mode,
            sampler=optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, n_startup_trials=startup_trials(trials)
            ),
            study_name=study,
            storage=JournalStorage(JournalFileBackend(str(journal))),
            points_to_evaluate=space.first_points(),
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id not in self._completed_trials and math.isfinite(result.get(METRIC, math.nan)):
            self._ot_trials[trial_id].report(result[METRIC], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial = self._ot_trials[trial_id]
        trial.set_user_attr("trial", trial_id)
        value = (result or {}).get(METRIC, math.nan)
        if error or not math.isfinite(value):
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif (result or {})["epoch"] < self._epochs:
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        else:
            self._ot_study.tell(trial, value)


def startup_trials(trials: int) -> int:
    """How many trials are drawn at random before TPE takes over: a third, Optuna's own 10 at most."""
    return min(10, max(2, trials // 3))
