"""Decoder tuning: how fast and with which loss."""

from __future__ import annotations

from optuna import Trial


def space(trial: Trial) -> None:
    trial.suggest_float("train.lr", 1e-4, 5e-3, log=True)
    trial.suggest_float("train.weight_decay", 1e-4, 0.1, log=True)
    trial.suggest_float("method.iou_weight", 0.25, 4.0, log=True)
