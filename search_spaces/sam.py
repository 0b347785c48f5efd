"""SAM zero-shot: nothing is trained, only which of its masks is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    trial.suggest_categorical("method.mask_choice", ["single", "best_predicted"])
