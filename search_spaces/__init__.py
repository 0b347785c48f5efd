"""What Optuna may choose: one plain define-by-run function ``space(trial, settings)`` a method, in its file.

A suggested name is a setting (``train.lr``, ``method.scale``, ...), or starts with ``choice.`` where it only
steers the function. A returned dictionary fixes further settings. ``settings`` are the dotted settings that
the search starts from. Ranges are ours: the papers give none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial


def suggest_iou_weight(trial: Trial, settings: Mapping[str, Any]) -> None:
    """The weight of the IoU loss, where the mask loss has one."""
    if settings["method.mask_loss"] == "bce_iou":
        trial.suggest_float("method.iou_weight", 0.25, 4.0, log=True)


def suggest_rates(trial: Trial, settings: Mapping[str, Any], low: float, high: float) -> None:
    """The learning rate between ``low`` and ``high``, and Muon's where it is the optimizer."""
    trial.suggest_float("train.lr", low, high, log=True)
    if settings["train.optimizer"] == "muon":
        trial.suggest_float("train.matrix_lr", 1e-4, 0.05, log=True)
