"""The recipe of vit_t: every setting that differs from the defaults, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.cores import available_cores

METHOD = "promptable"
RUN = "pretrain-vit_t"
SEED = 0  #: of the scenes and, by default, of the training

#: Where it runs rather than what it computes: may change when a run goes on.
PLACE = (
    "train.workers",
    "train.cpus_per_worker",
    "train.gpus_per_worker",
    "data.threads",
    "data.processes",
    "train.keep_every",
)

CPU: Mapping[str, Any] = {
    "backbone.start": "random",
    "train.epochs": 8,
    "train.samples": 6144,  # some minutes: the best of the epochs is what is kept
    "train.batch": 16,  # 8 is as good by images seen, but a fifth of its time would be Muon's
    "train.optimizer": "muon",  # farther in the same time than AdamW alone
    "train.lr": 2e-3,
    "train.matrix_lr": 0.04,
    "train.lr_min": 1e-6,
    "train.schedule": "steps",
    "train.warmup": 50,
    "train.weight_decay": 0.05,
    "train.clip": 5.0,
    "train.patience": 8,
    "train.seed": SEED,
    "method.box_share": 0.6,
    "method.tight_boxes": 0.75,  # what people ask with, and what a small model answers best
    "method.runners_up": 0.05,
    "method.iou_weight": 2.0,
}


#: What a GPU does differently: nine times as many views in a tenth of the time.
GPU: Mapping[str, Any] = {
    **CPU,
    "train.samples": 57_216,
    "train.batch": 192,
    "train.warmup": 200,
    "method.loss_grid": "fine",
}

#: A short last run from trained weights (those that ship, or ``backbone.checkpoint``), for the way people ask most:
#: an exact box, which the mask should fill and not leave.
POLISH: Mapping[str, Any] = {
    **CPU,
    "backbone.start": "trained",
    "train.epochs": 4,
    "train.lr": 4e-4,
    "train.matrix_lr": 8e-3,
    "method.loss_grid": "fine",
    "method.dice_weight": 8.0,
    "method.tight_boxes": 0.95,
}

RECIPES = {"cpu": CPU, "gpu": GPU, "polish": POLISH}
SCENES = 16_000  #: drawn once; with random views none is seen twice alike


def with_recipe(recipe: str, changes: Mapping[str, Any], most_ranks: int) -> dict[str, Any]:
    """A recipe of ``RECIPES`` with the user's changes on top.

    Without a word from the user there are as many ranks as share a batch evenly, at most ``most_ranks``, and
    beside a GPU as many processes that make views as there are cores for each.
    """
    settings = {**RECIPES[recipe], **changes}
    batch = int(settings["train.batch"]) if str(settings["train.batch"]).isdigit() else 1
    even = max(n for n in range(1, max(1, most_ranks) + 1) if batch % n == 0)
    place: dict[str, Any] = {"train.workers": even}
    if recipe == "gpu":
        place["data.processes"] = max(1, available_cores() // even)
    return {**place, **settings}
