"""GoodSAM: windows, what makes an instance sure, edges, the losses' weights and both learning rates.

Each size and stride of windows has an offline stage of its own, which is computed once: so few of them are asked for.
The assistant's training on pinhole images is the same for all trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial

from search_spaces import suggest_rates

WINDOWS = {"goodsam": [0.0, 0.75], "plusplus": [0.0, 0.6]}  #: of the panorama's height; 0: the variant's own
STRIDES = [0.5, 0.75]  #: of a window


def space(trial: Trial, settings: Mapping[str, Any]) -> None:
    suggest_rates(trial, settings, 1e-5, 5e-3)
    trial.suggest_float("method.assistant_rate", 0.01, 1.0, log=True)
    trial.suggest_categorical("method.window", WINDOWS[settings["method.variant"]])
    trial.suggest_categorical("method.stride", STRIDES)
    plus = settings["method.variant"] == "plusplus"
    if settings["method.levels"] == "mean" or (plus and settings["method.levels"] == "auto"):
        trial.suggest_float("method.small", 0.1, 0.45)
        trial.suggest_float("method.large", 0.55, 0.9)
    else:
        trial.suggest_float("method.theta", 0.5, 0.9)
    trial.suggest_int("method.tolerance", 1, 5)
    for weight, high in (("w_cc", 10.0), ("w_t_ta", 10.0), ("w_t_s", 10.0), ("w_ta_s", 10.0), ("w_bd", 1.0)):
        trial.suggest_float(f"method.{weight}", high / 100, high, log=True)
