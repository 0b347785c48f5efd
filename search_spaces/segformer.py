"""SegFormer: the learning rate, and how images are cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_rates


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    suggest_rates(trial, settings, 1e-5, 5e-3)
    trial.suggest_categorical("method.augment", ["crop", "flip"])
