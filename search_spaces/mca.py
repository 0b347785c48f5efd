"""MCA-SAM: which contrasts, their temperatures and weights, and the adaptors that they shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_iou_weight, suggest_rates


def space(trial: Trial, settings: Mapping[str, Any]) -> dict[str, Any]:
    suggest_rates(trial, settings, 1e-4, 5e-3)
    suggest_iou_weight(trial, settings)
    trial.suggest_categorical("method.scale", [8, 16, 32])
    trial.suggest_float("method.output_scale", 0.1, 2.0, log=True)
    trial.suggest_categorical("method.tc_input", ["block_tokens", "adapter_features"])
    if trial.suggest_categorical("method.blocks", ["all", "global", "last_half"]) == "all":
        trial.suggest_categorical("method.contrast_blocks", ["global", "last_half", "all"])
    contrasts = trial.suggest_categorical("choice.contrasts", ["both", "token", "sample"])
    fixed: dict[str, Any] = {}
    if contrasts == "sample":
        fixed["method.token_weight"] = 0.0
    else:
        trial.suggest_float("method.token_weight", 0.01, 1.0, log=True)
        trial.suggest_float("method.token_temperature", 0.03, 0.5, log=True)
    if contrasts == "token":
        fixed["method.sample_weight"] = 0.0
    else:
        trial.suggest_float("method.sample_weight", 0.01, 1.0, log=True)
        trial.suggest_float("method.sample_temperature", 0.03, 0.5, log=True)
    return fixed
