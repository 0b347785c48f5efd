"""What a sweep is about to cost: hours from what finished trials took, bytes from what a method trains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from methods import registry
from orchestrator.build import skeleton_method
from orchestrator.config import Settings
from orchestrator.data.reader import held_out_count
from orchestrator.optimizer import state_bytes


@dataclass(frozen=True)
class Bytes:
    """What trials leave, and need meanwhile, under STORAGE; without logs and overlays."""

    weights: int  #: of a trial, and stays: ``best.safetensors``
    state: int  #: of a trial that runs, to go on from


@dataclass(frozen=True)
class Cost:
    """What a sweep is about to cost."""

    trials: int
    epochs: int  #: of a whole trial
    workers: int  #: of a trial
    at_once: int | None  #: trials side by side; None where the cluster must be asked
    seconds: float | None  #: of a whole trial; None where nothing like it was measured
    bytes: Bytes

    @property
    def hours(self) -> float | None:
        """Of all workers together, at most: stops by ASHA are not counted on."""
        return None if self.seconds is None else self.seconds * self.workers * self.trials / 3600

    @property
    def wall_hours(self) -> float | None:
        """By the clock, at most."""
        if self.seconds is None or self.at_once is None:
            return None
        return self.seconds * math.ceil(self.trials / self.at_once) / 3600

    @property
    def kept_bytes(self) -> int:
        """What stays under STORAGE."""
        return self.bytes.weights * self.trials

    @property
    def peak_bytes(self) -> int:
        """What lies there at most: while a state is written, the one before is still there."""
        return self.kept_bytes + 2 * self.bytes.state * min(self.trials, self.at_once or 1)


def images_of_epoch(settings: Settings, train: int | None, has_val: bool) -> int | None:
    """The samples of an epoch where the training split has ``train`` images; None where that is not known."""
    if settings.train.samples or train is None:
        return settings.train.samples or None
    whole = has_val or not settings.data.val_fraction
    return train if whole else train - held_out_count(train, settings.data.val_fraction)


def trial_seconds(
    settings: Settings, images: int | None, rows: Iterable[dict[str, Any]], on_gpu: bool | None
) -> float | None:
    """The seconds of a whole trial, by rows of the same method and backbone; None where there are none.

    What a method trains is measured by the sample. One that trains nothing is measured whole, on the same data set.

    Args:
        images: samples of an epoch.
        on_gpu: which rows count; None: all.
    """
    like = [row for row in rows if _is_like(row, settings, on_gpu)]
    if not registry.load(settings.method).trains:
        whole = [row["seconds"] for row in like if row["dataset"] == settings.dataset and row["status"] == "completed"]
        return statistics.median(whole) if whole else None
    if not like or images is None:
        return None
    sample = statistics.median(_epochs_seconds(row) * row["workers"] / _samples(row) for row in like)
    start = statistics.median(max(0.0, row["seconds"] - _epochs_seconds(row)) for row in like)
    return start + sample * images * settings.train.epochs / settings.train.workers


def stored_bytes(settings: Settings) -> Bytes:
    """By what the method trains; needs neither its weights nor memory for them."""
    method = skeleton_method(settings)
    weights = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    return Bytes(weights, weights + state_bytes(method, settings.train))


def _is_like(row: dict[str, Any], settings: Settings, on_gpu: bool | None) -> bool:
    if (row["method"], row["backbone"]) != (settings.method, settings.backbone.name) or not row["epochs"]:
        return False
    if registry.load(settings.method).trains and not _samples(row):
        return False
    return on_gpu is None or (row["settings"]["train.gpus_per_worker"] > 0) is on_gpu


def _epochs_seconds(row: dict[str, Any]) -> float:
    return sum(epoch["seconds"] + (epoch["eval_seconds"] or 0) for epoch in row["epochs"])


def _samples(row: dict[str, Any]) -> int:
    return sum(epoch["samples"] for epoch in row["epochs"])
