"""Decoder tuning: how fast and with which loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_iou_weight, suggest_rates


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    suggest_rates(trial, settings, 1e-4, 5e-3)
    trial.suggest_float("train.weight_decay", 1e-4, 0.1, log=True)
    suggest_iou_weight(trial, settings)
