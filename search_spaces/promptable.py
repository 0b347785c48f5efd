"""SAM's own training: how fast, and what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_rates


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    suggest_rates(trial, settings, 1e-5, 1e-3)
    trial.suggest_float("train.weight_decay", 1e-4, 0.1, log=True)
    trial.suggest_float("method.box_share", 0.2, 0.8)
    trial.suggest_int("method.clicks", 0, 3)
