"""SAM-Adapter: the bottleneck, how strongly and where it is added, and how fast it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_iou_weight, suggest_rates


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    suggest_rates(trial, settings, 1e-4, 5e-3)
    trial.suggest_categorical("method.scale", [8, 16, 32])
    trial.suggest_float("method.output_scale", 0.1, 2.0, log=True)
    trial.suggest_categorical("method.blocks", ["all", "global", "first_half", "last_half"])
    trial.suggest_categorical("method.high_pass_rate", [0.1, 0.25, 0.5])
    suggest_iou_weight(trial, settings)
