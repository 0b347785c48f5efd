"""Prompt learning: what it is prompted with in training, the module's size, and how much contours are matched.

What a trial is measured by (``prompts.judged_by``) is no dimension: else the easiest prompt would win.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_rates


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    suggest_rates(trial, settings, 5e-5, 5e-3)
    kind = trial.suggest_categorical("prompts.kind", ["point", "box", "mixed"])
    if kind != "box":
        trial.suggest_int("prompts.points", 1, 5)
    if kind != "point":
        trial.suggest_float("prompts.jitter", 0.01, 0.3, log=True)
    trial.suggest_categorical("prompts.per_image", [2, 4, 8])
    trial.suggest_categorical("method.tokens", [0, 2, 4, 8])
    trial.suggest_categorical("method.width", [0, 32, 64])  # 0: the prompt's own
    trial.suggest_categorical("method.mlp_width", [256, 512, 1024, 2048])
    trial.suggest_int("method.depth", 1, 3)
    if trial.suggest_categorical("method.matching", ["offsets", "band", "none"]) != "none":
        trial.suggest_float("method.matching_weight", 0.01, 1.0, log=True)
        trial.suggest_categorical("method.matching_points", [32, 64, 128])
