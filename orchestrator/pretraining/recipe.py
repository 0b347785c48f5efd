"""The recipe of vit_t: every setting that differs from the defaults, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METHOD = "promptable"
RUN = "pretrain-vit_t"
SCENES = 16_000  #: drawn once; with random views none is seen twice alike
SEED = 0

RECIPE: Mapping[str, Any] = {
    "backbone.start": "random",
    "train.epochs": 20,
    "train.samples": 4096,  # an epoch is what lies between two checkpoints: some minutes
    "train.batch": 8,  # many small steps: hours on two cores, not days on many GPUs
    "train.lr": 8e-4,
    "train.lr_min": 1e-6,
    "train.schedule": "steps",
    "train.warmup": 300,
    "train.weight_decay": 0.05,
    "train.clip": 5.0,
    "train.patience": 8,
}


def with_recipe(changes: Mapping[str, Any], workers: int) -> dict[str, Any]:
    """The recipe with the user's changes on top; ``workers`` where the user has not said."""
    return {**RECIPE, "train.workers": workers, "train.seed": SEED, **changes}
