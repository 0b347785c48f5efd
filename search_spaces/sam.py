"""SAM zero-shot: nothing is trained, only which of its masks is taken."""

from __future__ import annotations

from optuna import Trial


def space(trial: Trial) -> None:
    trial.suggest_categorical("method.mask_choice", ["single", "best_predicted"])
